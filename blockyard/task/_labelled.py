"""Labelled things as a comparison sees them: what to train on, exams by what belongs together, and their figures."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from blockyard.core.random import fold
from blockyard.data.holdout import RULE, hold_out
from blockyard.data.items import Items, Some
from blockyard.data.rows import RowOrder
from blockyard.task._answer import Classes
from blockyard.task._classical import Rows, classical, tuned
from blockyard.task._exhibit import Exhibit
from blockyard.task._inputs import features, read_as
from blockyard.task._material import GROUPS, ROLES, Exam, Material, Predict, Referred, ratio
from blockyard.task._metric import ERROR, Metric
from blockyard.task._predicts import NAME, THINGS, KeptThings, Predicts
from blockyard.task._shown import shown

FEWEST = 8  # groups that say how much figures vary from one to the next
LEARNED = 4000  # things that a classical rule learns from, at most
BINS = 15
F1 = Metric("macro-F1", "mean over classes", "higher", 0.0, 1.0)
CALIBRATION = Metric("calibration error", "share of answers", "lower", 0.0, 1.0)
LOG_LOSS = Metric("log loss", "nats/answer", "lower", 0.0)


class Labelled(Material):
    """Things to name the class of.

    text    how the user named the task        patch, length   how much of a thing is a token, or how many there are
    rows    how many things train at most; none: all that are not held out
    noise   the share of those that train whose class is drawn anew
    """

    metric, also = ERROR, (F1, CALIBRATION, LOG_LOSS)

    def __init__(
        self, text: str, items: Items, patch: int | None, length: int | None, rows: int | None = None,
        noise: float = 0.0,
    ) -> None:  # fmt: skip
        self.items, self.name = items, items.name
        self.parts, notes = hold_out(items, rows)
        self.counts = {name: len(places) for name, places in self.parts.items()}
        self.labels, said = self._disturbed(noise)
        self.input = read_as(items, self.parts["train"], patch, length)
        self.length, self.ends = self.input.length, self.input.ends
        self.tokenizer = None if self.input.codec is None else self.input.codec.to_json()
        self.hash = hashlib.sha256(json.dumps([RULE, items.hash, text, items.codec]).encode()).hexdigest()
        self.units = {role: self._units(self.parts[part]) for role, part in ROLES.items()}
        self.notes = (*items.notes, *self.input.notes, *notes, *said, *self._few())

    @property
    def summary(self) -> str:
        items, parts = self.items, self.parts
        sizes = ", ".join(f"{len(parts[name]):,} {name}" for name in ("train", "tune", "test"))
        apart = "as the data say" if items.test is not None else "by the hash of names"
        units = "" if items.unit is None else f", by {len(np.unique(items.unit)):,} units"
        return (
            f"{items.name} (sha256 {self.hash[:12]}): {len(items):,} {items.kind} of {len(items.classes)} classes, "
            f"{self.length} tokens each; {sizes} ({apart}{units})"
        )

    @property
    def scored(self) -> dict[str, int]:
        return {role: len(self.parts[part]) * self.input.length for role, part in ROLES.items()}

    def order(self, length: int, batch: int, seed: int) -> RowOrder:
        return RowOrder(self._rows("train"), batch, fold("order", seed))

    def exam(self, role: str, length: int) -> Exam:
        units = self.units[role]
        asked = np.bincount(units).astype(np.float64)
        return Exam(self._rows(ROLES[role]), self.input.length, units, asked, asked / asked.sum(), ratio)

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        """(n,K) wrong, nats, then by bin of confidence and by class what the further figures are made of."""
        import torch
        from torch.nn.functional import one_hot

        chances = said["classes"].double().log_softmax(-1)
        sure, named = chances.exp().max(-1)
        asked, classes = batch.targets, chances.shape[-1]
        right = (named == asked).double()
        place = one_hot((sure * BINS).long().clamp(max=BINS - 1), BINS).double()
        nats = -chances.gather(1, asked[:, None]).squeeze(1)
        kinds = one_hot(named, classes).double(), one_hot(asked, classes).double()
        return torch.cat(
            [torch.stack([1 - right, nats], 1), place * sure[:, None], place * right[:, None],
             kinds[0] * kinds[1], *kinds], 1,
        )  # fmt: skip

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        """The further figures, from the sums of `amounts`."""
        sure, right = sums[2 : 2 + BINS], sums[2 + BINS : 2 + 2 * BINS]
        both, named, true = np.split(sums[2 + 2 * BINS :], 3)
        met = true > 0
        return {
            F1.name: float((2 * both[met] / (named + true)[met]).mean()),
            CALIBRATION.name: float(np.abs(sure - right).sum() / asked),
            LOG_LOSS.name: float(sums[1] / asked),
        }

    def beside(self, predict: Predict) -> dict[str, bytes]:
        items, kind = self.items, self.items.kind
        if kind not in THINGS:  # no file holds any
            return {}
        shape = [self.input.length] if kind == "texts" else list(items.rows.take(slice(0, 1))["tokens"].shape[1:])
        exams = [self.exam(role, 0) for role in ROLES]
        commonest = int(np.bincount(self.labels[self.parts["train"]]).argmax())
        kept = Predicts.of(
            Classes(tuple(items.classes)), "class", "words", exams, predict, commonest,
            things=KeptThings(kind, shape, items.rate),
        )  # fmt: skip
        return {NAME: kept.to_bytes()}

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        return shown(self.items, self.parts["test"], predict, exam)

    def references(self, role: str) -> dict[str, np.ndarray]:
        """Error rates by group of the commonest class, a linear rule and the nearest neighbours."""
        train = self.parts["train"][:LEARNED]
        near, far = (self._features(places) for places in (train, self.parts[ROLES[role]]))
        return self._wrong(role, classical(near, self.labels[train], far, len(self.items.classes)))

    def tuned_references(self, role: str, settings: int) -> Referred:
        """The linear rule's penalty and the number of neighbours are chosen where arms choose their rate."""
        if settings == 1:
            return super().tuned_references(role, settings)
        train, tune, asked = self.parts["train"][:LEARNED], self.parts["tune"], self.parts[ROLES[role]]
        near, chosen_on = (Rows(self._features(places), self.labels[places]) for places in (train, tune))
        said = tuned(near, chosen_on, self._features(asked), len(self.items.classes), settings)
        fits = ", ".join(f"{each.name} {each.seconds:.1f} s" for each in said if each.chosen)
        told = (
            f"references fitted on {len(train):,} {self.items.kind}, each tuned over {settings} settings as every arm"
        )
        figures = self._wrong(role, {each.name: each.classes for each in said})
        return Referred(figures, (f"{told}: {fits}",), {each.name: each.chosen for each in said if each.chosen})

    def _features(self, places: np.ndarray) -> np.ndarray:
        """(n,F) what classical rules see of the things at these places."""
        rows = self.input.rows if self.items.kind == "vectors" else self.items.rows  # numbers of one scale
        return features(self.items, rows.take(places))

    def _wrong(self, role: str, said: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Error rates by group of what rules say of the things of a role."""
        truth = self.items.labels[self.parts[ROLES[role]]]
        return {name: self.exam(role, 0).groups((each != truth).astype(float)) for name, each in said.items()}

    def _disturbed(self, noise: float) -> tuple[np.ndarray, tuple[str, ...]]:
        """The classes, of a share of those that train drawn anew, the same for every model; and what is said of it."""
        if not noise:
            return self.items.labels, ()
        labels, train = self.items.labels.copy(), self.parts["train"]
        draw = np.random.default_rng(fold("noise", self.items.hash))
        drawn = draw.permutation(len(train))[: round(noise * len(train))]  # of more noise, the same ones and others
        labels[train[drawn]] = draw.integers(len(self.items.classes), size=len(train))[: len(drawn)]
        wrong = int((labels != self.items.labels).sum())
        return labels, (f"{len(drawn):,} of {len(train):,} that train got a class by lot, {wrong:,} of them another",)

    def _rows(self, part: str) -> Some:
        return Some(self.input.rows, self.parts[part], {"targets": self.labels})

    def _units(self, places: np.ndarray) -> np.ndarray:
        """(n,) which group each place belongs to: units whole, in groups of nearly equal numbers."""
        if self.items.unit is None:
            groups = min(GROUPS, len(places))
            return np.arange(len(places)) * groups // len(places)
        names, unit, sizes = np.unique(self.items.unit[places], return_inverse=True, return_counts=True)
        groups = min(GROUPS, len(names))
        if groups < FEWEST:
            return np.zeros(len(places), np.int64)
        filled, owner = np.zeros(groups), np.zeros(len(names), np.int64)
        for one in np.argsort(-sizes, kind="stable"):
            owner[one] = filled.argmin()
            filled[owner[one]] += sizes[one]
        return owner[unit]

    def _few(self) -> tuple[str, ...]:
        """A note where the test has too few units to say anything of others."""
        if self.items.unit is None or self.units["final"].any():
            return ()
        units = len(np.unique(self.items.unit[self.parts["test"]]))
        s = "s" * (units > 1)
        return (
            f"the test has {units} unit{s}, too few to say how figures vary among others; verdicts are about these",
        )
