"""Rules for y = w.x + noise: least squares, ridges, steps of gradient descent, neighbours; how far two of them part.

    least squares   w = X^+ y, the shortest w of the least error
    ridge           w = (X'X + lam I)^-1 X'y; with w ~ N(0,I) and lam the variance of the noise: the posterior mean
    recursive       the same, one example at a time: A^-1 <- A^-1 - A^-1 x x'A^-1 / (1 + x'A^-1 x), from I / lam
    steps           w <- w - rate/n X'(X w - y), from 0, so many times
    one step        of gradient descent from 0 at the rate that is best on average over w, x ~ N(0,I)
    one pass        w <- w + rate (y_i - w.x_i) x_i, one example after another
    nearest         the mean y of the nearest examples, each by one over its distance

    squared difference   mean (f_a - f_b)^2, for every number of examples by itself
    weight difference    mean |w_a - w_b|^2; a model's w is fitted to what it says of many x in one context

Shapes   x (...,n,d)   y (...,n)   w (...,d)   queries (...,q,d)
Source   arXiv 2211.15661, 2208.01066    Slug  icl-linear
"""

from collections.abc import Callable
from functools import partial

import numpy as np

Rule = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # x, y, queries -> (...,q)
CUT = 1e-9  # singular values below this share of the largest are none


def least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The shortest weights of the least squared error."""
    return (np.linalg.pinv(x, rcond=CUT) @ y[..., None])[..., 0]


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """The weights of the least squared error plus `penalty` times their square."""
    if penalty == 0:
        return least_squares(x, y)
    curve = x.swapaxes(-1, -2) @ x + penalty * np.eye(x.shape[-1])
    return np.linalg.solve(curve, _products(x, y)[..., None])[..., 0]


def inverse(x: np.ndarray, penalty: float) -> np.ndarray:
    """(...,d,d) the inverse of X'X + penalty I by an example at a time: products, quotients and copies, no solver."""
    found = np.broadcast_to(np.eye(x.shape[-1]) / penalty, (*x.shape[:-2], x.shape[-1], x.shape[-1]))
    for i in range(x.shape[-2]):
        turned = (found @ x[..., i, :, None])[..., 0]
        size = 1 + (x[..., i, :] * turned).sum(-1)
        found = found - turned[..., :, None] * turned[..., None, :] / size[..., None, None]
    return found


def recursive(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """The ridge's weights by the recursive inverse."""
    return (inverse(x, penalty) @ _products(x, y)[..., None])[..., 0]


def gradient_steps(x: np.ndarray, y: np.ndarray, steps: int, rate: float) -> np.ndarray:
    """The weights after full-batch steps from 0 on half the mean squared error."""
    w = np.zeros((*x.shape[:-2], x.shape[-1]))
    for _ in range(steps):
        off = y - (x @ w[..., None])[..., 0]
        w = w + rate / max(1, x.shape[-2]) * _products(x, off)
    return w


def one_step(x: np.ndarray, y: np.ndarray, noise: float) -> np.ndarray:
    """The weights after one step from 0, at the rate of the least expected error."""
    n, d = x.shape[-2:]
    return gradient_steps(x, y, 1, n / (n + d + 1 + noise**2))


def one_pass(x: np.ndarray, y: np.ndarray, rate: float) -> np.ndarray:
    """The weights after a step on each example, in their order."""
    w = np.zeros((*x.shape[:-2], x.shape[-1]))
    for i in range(x.shape[-2]):
        off = y[..., i] - (w * x[..., i, :]).sum(-1)
        w = w + rate * off[..., None] * x[..., i, :]
    return w


def nearest(x: np.ndarray, y: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """(...,q) the mean of the `count` nearest examples, by one over their distance; 0 where there are none."""
    count = min(count, x.shape[-2])
    if count == 0:
        return np.zeros(queries.shape[:-1])
    far = np.linalg.norm(queries[..., :, None, :] - x[..., None, :, :], axis=-1)
    chosen = np.argsort(far, -1, kind="stable")[..., :count]
    near = 1 / np.maximum(np.take_along_axis(far, chosen, -1), 1e-12)
    values = np.take_along_axis(np.broadcast_to(y[..., None, :], far.shape), chosen, -1)
    return (near * values).sum(-1) / near.sum(-1)


def rules(noise: float, neighbours: int = 3) -> dict[str, Rule]:
    """The rules by name, for data whose noise has this deviation, the best one first: with noise the ridge, without it
    the least squares."""
    found: dict[str, Rule] = {}
    if noise:
        found = {
            "ridge": linear(partial(ridge, penalty=noise**2)),
            "light ridge": linear(partial(ridge, penalty=noise**2 / 10)),
        }
    return found | {
        "least squares": linear(least_squares),
        "one step": linear(partial(one_step, noise=noise)),
        "nearest": partial(nearest, count=neighbours),
        "zero": lambda x, y, queries: np.zeros(queries.shape[:-1]),
    }


def linear(fit: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Rule:
    """The rule that says w.x with the weights of a fit."""
    return lambda x, y, queries: (queries @ fit(x, y)[..., None])[..., 0]


def along(rule: Rule, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(...,n) what a rule says at each x, from the examples before it."""
    said = [rule(x[..., :i, :], y[..., :i], x[..., i : i + 1, :]) for i in range(x.shape[-2])]
    return np.concatenate(said, -1)


def squared_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) the mean squared difference of two predictions (...,n), for every number of examples by itself."""
    return np.square(a - b).reshape(-1, a.shape[-1]).mean(0)


def implied_weights(queries: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights (...,d) that explain best what was said (...,q) of queries in one context, and (...) the share of
    its square that they leave unexplained."""
    w = least_squares(queries, said)
    left = np.square(said - (queries @ w[..., None])[..., 0]).sum(-1)
    return w, left / np.maximum(np.square(said).sum(-1), np.finfo(np.float64).tiny)


def weight_difference(a: np.ndarray, b: np.ndarray) -> float:
    """The mean squared length of the difference of weights (...,d)."""
    return float(np.square(a - b).sum(-1).mean())


def _products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(...,d) X'y."""
    return (x * y[..., None]).sum(-2)
