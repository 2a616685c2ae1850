"""What can be read off the stream, or off any hook point, by one matrix?

    said = W standard(h)                     W: solved for on some rows by a light ridge, scored on the others
    PATH             share of classes that are right, or R^2 of numbers
    PATH:shuffled    the same where labels were dealt out anew among the rows: what the probe can do without the model

A label is of a row, or of each token; no row has tokens on both sides. That a matrix reads something is no finding by
itself: hold it against `shuffled`, against `chance` (the commonest class, or the mean), and against `stem`, which
knows a token without its context.

Source   arXiv 1610.01644, 1909.03368 (control tasks)
Family   probes
Differs  classes are told by least squares on their indicators, not by a logistic loss
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from blockyard.core import Batch, UsageError
from blockyard.core.settings import Count, Natural, Positive, Share, Word
from blockyard.probe._inside import read_all
from blockyard.probe._read import Arrays, batch_of
from blockyard.probe._ridge import share_explained, solved, standard


def linear_probe(
    model: Any, data: Any, labels: Annotated[Any, "(n,) or (n,T), whole numbers: classes; none: the id before"] = None,
    *, at: Annotated[Word, "`stream`, or a pattern of hook points"] = "stream",
    token: Annotated[Literal["last", "first", "mean"], "what is read of a row whose label is one"] = "last",
    teach: Annotated[Share, "the share of rows that teach"] = 0.5, ridge: Annotated[Positive, "a row"] = 1e-2,
    seed: Annotated[Natural, "of which rows teach, and of what is shuffled"] = 0,
    batch: Annotated[Count, "rows at once"] = 64,
) -> Arrays:  # fmt: skip
    """A score for every place, on rows (n,L) of ids or a batch of anything, and what `chance` gets."""
    given = batch_of(model, data)
    wanted = _labels(given, labels)
    rows = len(given.tokens)
    order = np.random.default_rng(seed).permutation(rows)
    taught = round(teach * rows)
    if not 2 <= taught < rows:
        raise UsageError(f"a probe is taught on some rows, 2 or more, and scored on others: {rows} rows are too few")
    sides = torch.from_numpy(order[:taught]), torch.from_numpy(order[taught:])
    dealt = wanted[torch.from_numpy(np.random.default_rng([seed, 1]).permutation(rows))]
    found: Arrays = {"chance": np.array(_chance(wanted, given.valid, sides))}
    for name, value in read_all(model, given, at, batch).items():
        h = read_at(name, value, given.valid, token, wanted)
        for key, goal in ((name, wanted), (f"{name}:shuffled", dealt)):
            found[key] = np.array(_score(h, goal, given.valid, sides, ridge))
    return found


def _labels(given: Batch, labels: Any) -> Tensor:
    """(n,) or (n,T) labels on the CPU: whole numbers or double precision."""
    if labels is None:
        if given.tokens.dim() != 2 or given.tokens.is_floating_point():
            raise UsageError("what has no ids has no id before it: give labels, one a row or one a token")
        return torch.cat([given.tokens[:, :1], given.tokens[:, :-1]], 1).cpu()  # of the first: its own
    wanted = torch.as_tensor(labels).cpu()
    if wanted.dim() not in (1, 2) or len(wanted) != len(given.tokens):
        raise UsageError(f"labels are one a row or one a token of {len(given.tokens)} rows, not {tuple(wanted.shape)}")
    return wanted.double() if wanted.is_floating_point() else wanted.long()


def read_at(name: str, value: Tensor, valid: Tensor | None, token: str, wanted: Tensor) -> Tensor:
    """(n,D) what is read of each row, or (n,T,D) of each token."""
    if value.dim() < 3 or len(value) != len(wanted) or (wanted.dim() == 2 and value.shape[1] != wanted.shape[1]):
        raise UsageError(f"{name} is {tuple(value.shape)}: it does not lie token by token as the labels do")
    h = value.flatten(2)
    if wanted.dim() == 2:
        return h
    counts = torch.ones(h.shape[:2]) if valid is None or valid.shape[1] != h.shape[1] else valid.cpu()
    counts = counts.to(h)
    if token == "mean":
        return (h * counts[..., None]).sum(1) / counts.sum(1, keepdim=True)
    steps = torch.arange(1, h.shape[1] + 1) * counts
    place = steps.argmax(1) if token == "last" else (counts > 0).int().argmax(1)
    return h[torch.arange(len(h)), place]


def _side(x: Tensor, rows: Tensor, per_token: bool, valid: Tensor | None) -> Tensor:
    """Those rows of what is told row by row, or all of their tokens that count."""
    picked = x[rows]
    if not per_token:
        return picked
    return picked.flatten(0, 1) if valid is None else picked[valid.cpu()[rows]]


def _score(h: Tensor, wanted: Tensor, valid: Tensor | None, sides: tuple[Tensor, Tensor], ridge: float) -> float:
    """What a readout taught on one side of the rows says of the other."""
    each = wanted.dim() == 2
    (x, test), (y, goal) = ([_side(z, rows, each, valid) for rows in sides] for z in (h, wanted))
    x, test = standard(x, x), standard(test, x)
    if wanted.is_floating_point():
        y, goal = standard(y, y)[:, None], standard(goal, y)[:, None]
        return share_explained(test @ solved(x, y, ridge), goal)
    kinds, places = y.unique(return_inverse=True)  # a class that nobody taught cannot be said
    indicators = one_hot(places, len(kinds)).to(x)
    said = test @ solved(x, indicators - indicators.mean(0), ridge) + indicators.mean(0)
    return float((kinds[said.argmax(1)] == goal).double().mean())


def _chance(wanted: Tensor, valid: Tensor | None, sides: tuple[Tensor, Tensor]) -> float:
    """The score of who says the commonest class of those that teach, or their mean."""
    y, goal = (_side(wanted, rows, wanted.dim() == 2, valid) for rows in sides)
    if wanted.is_floating_point():
        goal = standard(goal, y)[:, None]
        return share_explained(torch.zeros_like(goal), goal)
    return float((y.mode().values == goal).double().mean())
