"""Do directions along which the loss hardly curves hold what a model has by heart, and less of what it can do?

Source   arXiv 2510.24256    Slug  loss-curvature    Family  editors
Claim    without them text that was learned by heart is no longer recited, at little loss on other text
Differs  100 drawn strings of 24 letters in the texts of CPython, 150k parameters; the channels of two late layers; held
         against the smallest singular values at the same recall and against drawn directions, at the same recall and
         where as much of the matrices is gone; no unlearning baseline
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from blockyard.core import Batch
from blockyard.core.random import fold
from blockyard.data.default import default_text
from blockyard.model.model import build
from blockyard.probe.kfac import factors, projections
from blockyard.study._base import Given, Study, Trial, beneath, figure
from blockyard.systems import spec
from blockyard.train.loop import Settings, train
from blockyard.transform.kfac_edit import kept_of, rotated, turned_back
from blockyard.transform.truncate import truncated

STRINGS, LONG, SHOWN = 100, 24, 8  # letters of a string, of which so many are shown to have the rest recited
TEXTS, PLANTED, LENGTH = 24, 8, 48  # rows of a batch, those of two strings among them, and their length
SHARES = (0.99, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
ON = ("steps.5.part.*", "steps.7.part.*")
GONE = 0.2  # of the strings, recited at most where they count as forgotten
Edit = Callable[[Tensor, str, float], Tensor]  # a matrix, its path, and the share that is kept


class Cost(NamedTuple):
    """Of an edit of some share: the loss on other text, and the share of strings that is recited."""

    share: float
    loss: float
    recited: float


class Rows:
    """Rows of text, and rows of two strings that were drawn once: `by_heart` (100,24)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        text = np.frombuffer(b"".join(default_text().documents), np.uint8).astype(np.int64)
        held = len(text) // 10
        self.train, self.test = text[held:], text[:held]
        letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", np.uint8)
        self.by_heart = np.random.default_rng(seed).choice(letters, (STRINGS, LONG)).astype(np.int64)

    def text(self, text: np.ndarray, draw: np.random.Generator, rows: int) -> np.ndarray:
        """(rows, LENGTH) from anywhere in a text."""
        return text[draw.integers(0, len(text) - LENGTH, rows)[:, None] + np.arange(LENGTH)]

    def next(self, step: int) -> np.ndarray:
        """The rows of a step of training."""
        draw = np.random.default_rng([self.seed, step])
        planted = self.by_heart[draw.integers(0, STRINGS, (PLANTED, 2))].reshape(PLANTED, LENGTH)
        return np.concatenate([self.text(self.train, draw, TEXTS), planted])


def edits(given: Given) -> dict[str, float]:
    """What forgetting costs by either edit."""
    return _of(given.seed, 900 if given.tier == "small" else 3)


def _of(seed: int, steps: int) -> dict[str, float]:
    rows, system = Rows(seed), spec("llama", "tiny", layers=4, dim=64, heads=4)
    model = build(system, seed)
    train(system, model, rows, Settings(steps, 4e-3, seed=seed))
    draw = np.random.default_rng([seed, steps])
    other = torch.from_numpy(rows.text(rows.train, draw, 128))  # no string among them: it would be kept
    test, strings = torch.from_numpy(rows.text(rows.test, draw, 128)), torch.from_numpy(rows.by_heart)
    paths = [part.path for part in projections(model, ON)]
    known = factors(model, [Batch(piece) for piece in other.split(32)], paths)

    def curved(weight: Tensor, path: str, share: float) -> Tensor:
        basis = rotated(weight, known[path])
        return turned_back(basis, kept_of(basis.curvature, share))

    def drawn(weight: Tensor, path: str, share: float) -> Tensor:
        gone = weight.square().sum() - curved(weight, path, share).square().sum()
        return in_drawn_bases(weight, float(gone), torch.Generator().manual_seed(fold("drawn bases", seed, path)))

    def singular(weight: Tensor, path: str, share: float) -> Tensor:
        return truncated(weight, share)[0]

    before, recited = _loss(model, test), _recited(model, strings)
    found = {"loss": before, "recited": recited}
    for name, edit in (("curvature", curved), ("singular", singular), ("drawn", drawn)):
        found[f"{name}_share"], loss, found[f"{name}_recited"] = _forgotten(model, edit, test, strings)
        found[f"{name}_rise"] = loss - before
    _, loss, found["recited_as_far"] = _cost(model, drawn, found["curvature_share"], test, strings)
    return found | {"rise_as_far": loss - before}


def in_drawn_bases(weight: Tensor, gone: float, draw: torch.Generator) -> Tensor:
    """W (O,I) without components of drawn orthonormal bases of both sides, in a drawn order, until so much of its
    squared norm is gone: as the edit by curvature, and nothing is known of the loss."""
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=weight.dtype))[0] for n in weight.shape)
    found = left.T @ weight @ right
    order = torch.randperm(found.numel(), generator=draw)
    dropped = order[found.flatten()[order].square().cumsum(0) <= gone]
    return left @ found.flatten().index_fill(0, dropped, 0).view_as(found) @ right.T


def _forgotten(model: Any, edit: Edit, test: Tensor, strings: Tensor) -> Cost:
    """The cost of the mildest edit that forgets; not a number where none does."""
    for share in SHARES:
        found = _cost(model, edit, share, test, strings)
        if found.recited <= GONE:
            return found
    return Cost(math.nan, math.nan, math.nan)


@torch.no_grad()
def _cost(model: Any, edit: Edit, share: float, test: Tensor, strings: Tensor) -> Cost:
    """What an edit of some share costs; the model is put back to the bit. Not a number where the share is none."""
    if math.isnan(share):
        return Cost(share, math.nan, math.nan)
    parts = projections(model, ON)
    whole = [part.weight.clone() for part in parts]
    for part, weight in zip(parts, whole):
        part.weight.copy_(edit(weight.double(), part.path, share))
    found = Cost(share, _loss(model, test), _recited(model, strings))
    for part, weight in zip(parts, whole):
        part.weight.copy_(weight)
    return found


@torch.no_grad()
def _loss(model: Any, rows: Tensor) -> float:
    """Nats a token."""
    logits = model(rows[:, :-1]).logits
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()))


@torch.no_grad()
def _recited(model: Any, strings: Tensor) -> float:
    """The share of strings that go on as they were learned, from their first letters to the last."""
    said = model(strings[:, :-1]).logits.argmax(-1)
    return float((said == strings[:, 1:])[:, SHOWN - 1 :].all(1).double().mean())


def study() -> Study:
    return Study(
        races=(),
        trials=(Trial("edits", edits),),
        predictions=(
            figure("edits", "recited", least=0.8),
            beneath("edits", "curvature_rise", "loss", 0.1),
            beneath("edits", "curvature_rise", "singular_rise", 1 / 1.5),
            beneath("edits", "curvature_rise", "drawn_rise", 1 / 1.5),
            beneath("edits", "curvature_rise", "rise_as_far"),
        ),
    )
