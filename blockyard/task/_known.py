"""What is known to do well on tables, fitted on the same rows: a constant, a linear rule, boosted trees.

The linear rule reads a word as a place of its own and a missing number as its mean, with a mark. Trees need
scikit-learn, and what they take counts as seconds. What can be set of each is chosen from as many settings as a
learning rate is chosen from for an arm, by what they lose on the same rows.
"""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

RIDGE = 1.0  # on scaled numbers
STEPS = 200
LEAVES, RATE = (31, 15, 7, 3), 0.1  # of a tree, and by how much each one mends what those before it left
Predict = Callable[[np.ndarray], np.ndarray]
Judge = Callable[[Predict], tuple[float, ...]]


class Known(NamedTuple):
    """A reference: cells (n,C) to predictions, the seconds that all its fits took, the setting that was chosen."""

    name: str
    predict: Predict
    seconds: float
    chosen: str = ""


def known(
    cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: int | None, judge: Judge, settings: int = 1
) -> tuple[list[Known], list[str]]:
    """The references of these rows, and what is missing for others.

    classes    how many there are; None: targets (n,1) are numbers
    judge      what predictions cost on rows that choose, less being better: neither those that train nor the test
    settings   how many each may try, where it has something to set; 1: as it usually is
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
        tried = GRIDS[make](settings) if make in GRIDS else [{}]
        made = [make(cells, targets, levels, classes, **each) for each in tried]
        best = min(range(len(made)), key=lambda i: judge(made[i])) if len(made) > 1 else 0
        chosen = ", ".join(f"{setting}={value:g}" for setting, value in tried[best].items()) if len(made) > 1 else ""
        found.append(Known(name, made[best], time.perf_counter() - began, chosen))
    return found, notes


def penalties(count: int) -> list[dict[str, float]]:
    """So many penalties, a factor of ten apart, the usual one among them."""
    return [{"penalty": RIDGE * 10.0 ** (i - (count - 1) // 2)} for i in range(count)]


def trees(count: int) -> list[dict[str, float]]:
    """So many sorts of trees, from the usual ones to smaller ones, then the same with half the rate."""
    return [{"leaves": LEAVES[i % len(LEAVES)], "rate": RATE * 0.5 ** (i // len(LEAVES))} for i in range(count)]


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


def _ridge(
    cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: None, *, penalty: float = RIDGE
) -> Predict:  # fmt: skip
    x = _design(cells, levels)
    held = penalty * np.eye(x.shape[1])
    held[0, 0] = 1e-9
    weights = np.linalg.solve(x.T @ x + held, x.T @ targets.astype(np.float64))
    return lambda cells: _design(cells, levels) @ weights


def _logistic(
    cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: int, *, penalty: float = RIDGE
) -> Predict:  # fmt: skip
    """The least log loss with a penalty on all but the constant, by steps that a bound on its curvature allows."""
    x, y = _design(cells, levels), np.eye(classes)[targets]
    held = penalty * np.eye(x.shape[1])
    held[0, 0] = 1e-9
    step = np.linalg.inv(x.T @ x / 2 + held)
    weights = np.zeros((x.shape[1], classes))
    for _ in range(STEPS):
        scores = x @ weights
        chances = np.exp(scores - scores.max(1, keepdims=True))
        slope = x.T @ (chances / chances.sum(1, keepdims=True) - y) + held @ weights
        weights -= step @ slope
        if np.abs(slope).max() < 1e-4 * len(x):
            break
    return lambda cells: _design(cells, levels) @ weights


def _boosted(
    cells: np.ndarray, targets: np.ndarray, levels: Sequence[int], classes: int | None, *, leaves: int = LEAVES[0],
    rate: float = RATE,
) -> Predict:  # fmt: skip
    """scikit-learn's histogram trees, with words as categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    known = np.flatnonzero(np.isfinite(cells).any(0))  # a column that is empty here tells nothing
    words = (np.array(levels) > 0)[known]
    settings: dict[str, Any] = dict(
        random_state=0, categorical_features=words, max_leaf_nodes=leaves, learning_rate=rate
    )  # fmt: skip
    with threadpool_limits(1):  # so that seconds do not depend on who else computes
        if classes is None:
            numbers = HistGradientBoostingRegressor(**settings).fit(cells[:, known], targets[:, 0])
            return lambda cells: numbers.predict(cells[:, known])[:, None]
        forest = HistGradientBoostingClassifier(**settings).fit(cells[:, known], targets)

    def scores(cells: np.ndarray) -> np.ndarray:
        found = np.full((len(cells), classes), -30.0)  # a class that never trains
        found[:, forest.classes_] = np.log(forest.predict_proba(cells[:, known]).clip(1e-12))
        return found

    return scores


GRIDS: dict[Any, Callable[[int], list[dict[str, float]]]] = {_ridge: penalties, _logistic: penalties, _boosted: trees}
