"""A table as a comparison sees it: rows to train on, held-out rows, what each column is worth to a model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockyard.core.random import fold
from blockyard.core.spec import stem
from blockyard.data.rows import Arrays, Batches, Held, RowOrder, permutation
from blockyard.data.table import Table
from blockyard.task._cells import Column
from blockyard.task._chosen import Chosen
from blockyard.task._exhibit import Exhibit
from blockyard.task._known import Known, known
from blockyard.task._material import ROLES, Ends, Exam, Material, Predict, Referred, exam
from blockyard.task._predicts import NAME, KeptColumn, Predicts
from blockyard.task._unseen import Sparse

MOST = {"tune": 4096, "final": 16384}  # rows that are scored
LOOKED, COLUMNS = 1000, 40  # rows and columns that exhibits are made of


class Tabular(Material):
    """Rows of a table with one column to be predicted.

    written   the task, as a user would write it
    """

    def __init__(self, data: Table, written: str, target: str, found: Chosen) -> None:
        self.name, self.target, self.found = f"{data.name}: {target}", target, found
        self.answer, self.metric, self.also = found.answer, found.answer.metric, found.answer.also
        self.width = self.length = len(found.columns)
        self.data = data.hash
        self.kind, self.kept = _kind(data.columns[target]), _kept(data, found)
        self.fitted: dict[int, tuple[list[Known], list[str]]] = {}
        self.counts = {split: len(rows) for split, rows in found.rows.items()}
        self.ends = Ends(
            "columns", self.answer.says, self.answer.learns, stem("columns"), self.answer.head, self.answer.objective,
            settings={
                "levels": tuple(len(column.words) for column in found.columns),
                "names": tuple(column.name for column in found.columns),
                "words": tuple(column.words for column in found.columns), **self.answer.settings,
            },
        )  # fmt: skip
        self.hash = hashlib.sha256(json.dumps(["table 2", data.hash, written]).encode()).hexdigest()

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]  # whoever reads notes is not to fit references
        """What must be said of the table."""
        return self.found.notes

    @property
    def summary(self) -> str:
        words = sum(bool(column.words) for column in self.found.columns)
        return (
            f"{self.name} (sha256 {self.hash[:12]}): {self.answer.described}, from {self.width} columns "
            f"({self.width - words} of numbers, {words} of words); rows: "
            + ", ".join(f"{len(rows):,} {split}" for split, rows in self.found.rows.items() if len(rows))
        )

    @property
    def scored(self) -> dict[str, int]:
        return {role: min(MOST[role], len(self.found.rows[split])) * self.width for role, split in ROLES.items()}

    def order(self, length: int, batch: int, seed: int) -> Batches:
        own = RowOrder(self._held(self.found.rows["train"]), batch, fold("rows", seed))
        main: Batches = own
        if len(self.found.rows["beside"]):
            main = _Beside(own, RowOrder(self._held(self.found.rows["beside"]), batch, fold("beside", seed)))
        return Sparse(main, [len(column.words) for column in self.found.columns], fold("taken", seed))

    def exam(self, role: str, length: int) -> Exam:
        rows = self.found.rows[ROLES[role]][: MOST[role]]  # in the order of their hashes: equal rows are neighbours
        return exam(self._held(rows), self.width, np.ones(len(rows)))

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        scores = said[self.answer.says].detach().double()
        found = self.answer.amounts(scores.cpu().numpy(), batch.targets.cpu().numpy())
        return scores.new_tensor(found)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return self.answer.figures(sums, asked)

    def references(self, role: str) -> dict[str, np.ndarray]:
        """What is known of tables, fitted on the rows that arms train on."""
        return self.tuned_references(role, 1).figures

    def tuned_references(self, role: str, settings: int) -> Referred:
        found, missing = self._known(settings)
        asked = self.exam(role, self.width)
        arrays = asked.take(slice(None))
        figures = {
            each.name: asked.groups(self.answer.amounts(each.predict(arrays["tokens"]), arrays["targets"]))
            for each in found
        }
        fits = ", ".join(f"{each.name} {each.seconds:.1f} s" for each in found)
        tuned = f", each tuned over {settings} settings as every arm" * (settings > 1)
        told = f"references fitted on {len(self.found.rows['train']):,} rows{tuned}: {fits}"
        chosen = {each.name: each.chosen for each in found if each.chosen}
        return Referred(figures, (told, *missing), chosen)

    def _known(self, settings: int) -> tuple[list[Known], list[str]]:
        """The references that try so many settings on the tuning rows, and what is missing for others."""
        if settings not in self.fitted:
            rows, chosen_on = (
                self._held(self.found.rows[split][:most]).take(slice(None))
                for split, most in (("train", None), ("tune", MOST["tune"]))  # an arm chooses on no more
            )
            levels = [len(column.words) for column in self.found.columns]

            def judge(predict: Any) -> tuple[float, ...]:
                lost = self.answer.amounts(predict(chosen_on["tokens"]), chosen_on["targets"]).mean(0)
                return float(lost[0]), float(lost[1])

            classes = self.answer.settings.get("classes")
            self.fitted[settings] = known(rows["tokens"], rows["targets"], levels, classes, judge, settings)
        return self.fitted[settings]

    def beside(self, predict: Predict) -> dict[str, bytes]:
        exams = [self.exam(role, self.width) for role in ("tune", "final")]
        known = self.found.targets[self.found.rows["train"]]
        commonest = int(np.bincount(known).argmax()) if known.dtype.kind == "i" else 0
        kept = Predicts.of(self.answer, self.target, self.kind, exams, predict, commonest, self.data, self.kept)
        return {NAME: kept.to_bytes()}

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        arrays = exam.take(slice(0, min(LOOKED, len(exam))))
        said = predict(arrays)[self.answer.says]
        whole = self._cost(said, arrays)
        worth = []
        for j, column in enumerate(self.found.columns[:COLUMNS]):
            mixed = arrays["tokens"].copy()
            mixed[:, j] = mixed[permutation(len(mixed), fold("shuffle", j)), j]
            worth.append(
                (self._cost(predict({**arrays, "tokens": mixed})[self.answer.says], arrays) - whole, column.name)
            )
        worth.sort(key=lambda item: -item[0])
        lines = [f"{name}: {gain:+.4f}" for gain, name in worth]
        shown = Exhibit(f"What is lost in {self.metric.name} when the cells of a column are shuffled", texts=lines)
        return [shown, *self.answer.exhibits(said, arrays["targets"])]

    def _cost(self, said: np.ndarray, arrays: Arrays) -> float:
        return float(self.answer.amounts(said, arrays["targets"])[:, 0].mean())

    def _held(self, rows: np.ndarray) -> Held:
        return Held({"tokens": self.found.cells[rows], "targets": self.found.targets[rows]})


def _kept(data: Table, found: Chosen) -> list[KeptColumn]:
    """How the columns are read."""
    lacked = [
        bool(np.isnan(cells).any())
        for cells in found.cells[np.concatenate([found.rows["train"], found.rows["beside"]])].T
    ]
    return [
        KeptColumn(each.name, _kind(data.columns[each.name], each), list(each.words), each.mean, each.scale, lacked[j])
        for j, each in enumerate(found.columns)
    ]


def _kind(cells: np.ndarray, column: Column | None = None) -> str:
    """What the cells of a column are in the file: numbers, times, words or, read as words, the numbers 0 and 1."""
    kind = {"M": "times", "O": "words"}.get(cells.dtype.kind, "numbers")
    return "flags" if kind == "numbers" and column is not None and column.words else kind


@dataclass(frozen=True)
class _Beside:
    """Rows to learn the answer of, and in the fields `beside` and `beside_targets` rows that only pretrain."""

    main: RowOrder
    other: RowOrder

    def next(self, step: int) -> Arrays:
        more = self.other.next(step)
        return {**self.main.next(step), "beside": more["tokens"], "beside_targets": more["targets"]}
