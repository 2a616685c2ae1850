"""Classifiers that need no training of ours: the commonest class, a linear one, and the nearest neighbours."""

import numpy as np

PENALTIES = 10.0 ** np.arange(-5, 3)  # in units of the largest eigenvalue
NEAREST = 5
CHUNK = 1 << 22  # distances at once


def classical(train: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """(m,) the classes that each rule gives the rows asked (m,F), from rows (n,F) with labels (n,)."""
    counts = np.bincount(labels, minlength=classes)
    mean, spread = train.mean(0), train.std(0)
    scale = np.where(spread > 1e-9, spread, np.inf)  # what never varies says nothing
    near, far = (train - mean) / scale, (asked - mean) / scale
    return {
        "majority": np.full(len(asked), counts.argmax()),
        "linear": _ridge(near, labels, far, classes),
        f"{NEAREST} nearest": _nearest(train - mean, labels, asked - mean, classes),
    }


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


def _svd(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The singular values of x that count, with their vectors, by the smaller of its two products."""
    tall = len(x) >= x.shape[1]
    squares, vectors = np.linalg.eigh(x.T @ x if tall else x @ x.T)
    keep = squares > 1e-10 * max(squares.max(initial=0.0), 1e-12)
    values, vectors = np.sqrt(squares[keep]), vectors[:, keep]
    if tall:
        return x @ vectors / values, values, vectors.T
    return vectors, values, (x.T @ vectors / values).T


def _nearest(x: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int) -> np.ndarray:
    """The commonest class among the nearest; the nearer ones decide where two are as common."""
    most, found = min(NEAREST, len(x)), []
    weight = 1 + 1e-3 * np.arange(most, 0, -1)
    squares = (x**2).sum(1)
    step = max(1, CHUNK // len(x))
    for first in range(0, len(asked), step):
        apart = squares - 2 * asked[first : first + step] @ x.T
        places = np.argsort(apart, axis=1, kind="stable")[:, :most]
        votes = np.zeros((len(places), classes))
        np.add.at(votes, (np.arange(len(places))[:, None], labels[places]), weight)
        found.append(votes.argmax(1))
    return np.concatenate(found)
