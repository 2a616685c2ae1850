"""Classifiers that need no training of ours: the commonest class, a linear one, and the nearest neighbours.

What can be set is chosen from as many settings as a learning rate is chosen from for an arm, on the same rows. Where
nothing is chosen the linear one takes the penalty under which rows that are left out err least, and five are nearest.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PENALTIES = 10.0 ** np.arange(-5, 3)  # in units of the largest eigenvalue
USUAL = 1e-2  # the penalty that others are tried around
NEAREST, COUNTS = 5, (5, 1, 3, 9, 17, 33, 65)
CHUNK = 1 << 22  # distances at once


class Said(NamedTuple):
    """What a rule says: its name, the classes (m,), the seconds that it took, and what was chosen for it."""

    name: str
    classes: np.ndarray
    seconds: float
    chosen: str = ""


class Rows(NamedTuple):
    """Rows (n,F) and their classes (n,)."""

    features: np.ndarray
    labels: np.ndarray


def classical(train: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """(m,) the classes that each rule gives the rows asked (m,F), from rows (n,F) with labels (n,)."""
    near, far = _alike(train, train), _alike(train, asked)
    mean = train.mean(0)
    return {
        "majority": _majority(labels, len(asked), classes),
        "linear": _ridge(near, labels, far, classes),
        f"{NEAREST} nearest": _nearest(train - mean, labels, asked - mean, classes, [NEAREST])[0],
    }


def tuned(train: Rows, tune: Rows, asked: np.ndarray, classes: int, settings: int) -> list[Said]:
    """The same, where the linear rule tries so many penalties and the neighbours as many counts: those under which
    fewest of the rows `tune` are named wrongly. Of equals the first counts, the usual number or the lesser penalty."""
    both = np.concatenate([tune.features, asked])
    found = [Said("majority", _majority(train.labels, len(asked), classes), 0.0)]
    penalties = [USUAL * 10.0 ** (i - settings // 2) for i in range(settings)]
    counts = [count for count in COUNTS if count <= len(train.labels)][:settings]
    mean = train.features.mean(0)

    def linear() -> list[np.ndarray]:
        near, far = _alike(train.features, train.features), _alike(train.features, both)
        return _linear(near, train.labels, far, classes, penalties)

    def nearest() -> list[np.ndarray]:
        return _nearest(train.features - mean, train.labels, both - mean, classes, counts)

    for name, say, setting, tried in (("linear", linear, "penalty", penalties), ("nearest", nearest, "k", counts)):
        began = time.perf_counter()
        said = say()
        wrong = [int((each[: len(tune.labels)] != tune.labels).sum()) for each in said]
        best = int(np.argmin(wrong))
        took = time.perf_counter() - began
        found.append(Said(name, said[best][len(tune.labels) :], took, f"{setting}={tried[best]:g}"))
    return found


def _majority(labels: np.ndarray, rows: int, classes: int) -> np.ndarray:
    return np.full(rows, np.bincount(labels, minlength=classes).argmax())


def _alike(train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows on the scale of those that train; what never varies says nothing."""
    spread = train.std(0)
    return (rows - train.mean(0)) / np.where(spread > 1e-9, spread, np.inf)


def _ridge(x: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int) -> np.ndarray:
    """Least squares on one column of 0 and 1 a class; the penalty under which rows that are left out err least."""
    wanted = np.eye(classes)[labels]
    offset = wanted.mean(0)
    left, values, right = _svd(x)
    along = left.T @ (wanted - offset)
    best = None
    for penalty in PENALTIES * values.max(initial=1e-12) ** 2:
        shrink = values**2 / (values**2 + penalty)
        residual = wanted - offset - left @ (shrink[:, None] * along)
        free = 1 - 1 / len(x) - (left**2) @ shrink  # of each row, what the others leave it
        score = ((residual / np.maximum(free, 1e-9)[:, None]) ** 2).sum()
        if best is None or score < best[0]:
            best = score, right.T @ ((values / (values**2 + penalty))[:, None] * along)
    assert best is not None
    return (asked @ best[1] + offset).argmax(1)


def _linear(
    x: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int, penalties: Sequence[float]
) -> list[np.ndarray]:
    """What the same least squares say under each of these penalties."""
    wanted = np.eye(classes)[labels]
    offset = wanted.mean(0)
    left, values, right = _svd(x)
    along, most = left.T @ (wanted - offset), values.max(initial=1e-12) ** 2
    scales = [values / (values**2 + penalty * most) for penalty in penalties]
    return [(asked @ (right.T @ (scale[:, None] * along)) + offset).argmax(1) for scale in scales]


def _svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The singular values of x that count, with their vectors, by the smaller of its two products."""
    tall = len(x) >= x.shape[1]
    squares, vectors = np.linalg.eigh(x.T @ x if tall else x @ x.T)
    keep = squares > 1e-10 * max(squares.max(initial=0.0), 1e-12)
    values, vectors = np.sqrt(squares[keep]), vectors[:, keep]
    if tall:
        return x @ vectors / values, values, vectors.T
    return vectors, values, (x.T @ vectors / values).T


def _nearest(
    x: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int, counts: Sequence[int]
) -> list[np.ndarray]:
    """For each count the commonest class among so many nearest; the nearer ones decide where two are as common."""
    kept = [min(count, len(x)) for count in counts]
    found: list[list[np.ndarray]] = [[] for _ in kept]
    squares = (x**2).sum(1)
    step = max(1, CHUNK // len(x))
    for first in range(0, len(asked), step):
        apart = squares - 2 * asked[first : first + step] @ x.T
        places = np.argsort(apart, axis=1, kind="stable")[:, : max(kept)]
        for count, said in zip(kept, found):
            votes = np.zeros((len(places), classes))
            weight = 1 + 1e-3 * np.arange(count, 0, -1)
            np.add.at(votes, (np.arange(len(places))[:, None], labels[places[:, :count]]), weight)
            said.append(votes.argmax(1))
    return [np.concatenate(said) for said in found]
