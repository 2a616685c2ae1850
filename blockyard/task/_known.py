"""What is known to do well on tables, fitted on the same rows: a constant, a linear rule, boosted trees.

The linear rule reads a word as a place of its own and a missing number as its mean, with a mark. Trees need
scikit-learn, and what they take counts as seconds.
"""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

RIDGE = 1.0  # on scaled numbers
STEPS = 200
Predict = Callable[[np.ndarray], np.ndarray]


class Known(NamedTuple):
    """A reference: cells (n,C) to predictions, and the seconds that it was fitted in."""

    name: str
    predict: Predict
    seconds: float


def known(
    cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: int | None
) -> tuple[list[Known], list[str]]:
    """The references of these rows, and what is missing for others.

    classes   how many there are; None: targets (n,1) are numbers
    """
    makers: dict[str, Any] = {"mean": _mean, "ridge": _ridge} if classes is None else {
        "majority": _majority, "logistic": _logistic}  # fmt: skip
    notes = []
    if find_spec("sklearn") is None:
        notes = ["boosted trees are a reference where scikit-learn is there: pip install 'blockyard[tables]'"]
    else:
        makers["boosted trees"] = _boosted
        import sklearn.ensemble  # noqa: F401  what is loaded is no part of a fit
    found = []
    for name, make in makers.items():
        began = time.perf_counter()
        predict = make(cells, targets, levels, classes)
        found.append(Known(name, predict, time.perf_counter() - began))
    return found, notes


def _mean(cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: None) -> Predict:
    mean = targets.mean(0)
    return lambda cells: np.broadcast_to(mean, (len(cells), targets.shape[1]))


def _majority(cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: int) -> Predict:
    scores = np.log(np.bincount(targets, minlength=classes) + 0.5)
    return lambda cells: np.broadcast_to(scores, (len(cells), classes))


def _design(cells: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """(n,F) a constant, numbers with marks where they lack, and a place for every word and for none."""
    found = [np.ones(len(cells))]
    for values, count in zip(cells.T.astype(np.float64), levels):
        if count:
            places = np.where(np.isnan(values), count + 1, values).astype(np.int64)
            found += [places == place for place in range(count + 2)]
        else:
            found += [np.nan_to_num(values), np.isnan(values)]
    return np.stack(found, 1).astype(np.float64)


def _ridge(cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: None) -> Predict:
    x = _design(cells, levels)
    penalty = RIDGE * np.eye(x.shape[1])
    penalty[0, 0] = 1e-9
    weights = np.linalg.solve(x.T @ x + penalty, x.T @ targets.astype(np.float64))
    return lambda cells: _design(cells, levels) @ weights


def _logistic(cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: int) -> Predict:
    """The least log loss with a penalty on all but the constant, by steps that a bound on its curvature allows."""
    x, y = _design(cells, levels), np.eye(classes)[targets]
    penalty = RIDGE * np.eye(x.shape[1])
    penalty[0, 0] = 1e-9
    step = np.linalg.inv(x.T @ x / 2 + penalty)
    weights = np.zeros((x.shape[1], classes))
    for _ in range(STEPS):
        scores = x @ weights
        chances = np.exp(scores - scores.max(1, keepdims=True))
        slope = x.T @ (chances / chances.sum(1, keepdims=True) - y) + penalty @ weights
        weights -= step @ slope
        if np.abs(slope).max() < 1e-4 * len(x):
            break
    return lambda cells: _design(cells, levels) @ weights


def _boosted(cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: int | None) -> Predict:
    """scikit-learn's histogram trees as they come, with words as categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    known = np.flatnonzero(np.isfinite(cells).any(0))  # a column that is empty here tells nothing
    words = (np.array(levels) > 0)[known]
    settings: dict[str, Any] = dict(random_state=0, categorical_features=words)
    with threadpool_limits(1):  # so that seconds do not depend on who else computes
        if classes is None:
            numbers = HistGradientBoostingRegressor(**settings).fit(cells[:, known], targets[:, 0])
            return lambda cells: numbers.predict(cells[:, known])[:, None]
        trees = HistGradientBoostingClassifier(**settings).fit(cells[:, known], targets)

    def scores(cells: np.ndarray) -> np.ndarray:
        found = np.full((len(cells), classes), -30.0)  # a class that never trains
        found[:, trees.classes_] = np.log(trees.predict_proba(cells[:, known]).clip(1e-12))
        return found

    return scores
