"""Regression whose noise is not known either: what is known of both after some examples, in closed form.

    y = w.x + sqrt(v) e        w | v ~ N(0, v s^2 I)        v ~ InvGamma(a, b): p(v) prop. to v^(-a-1) exp(-b/v)
    A = X'X + I / s^2    m = A^-1 X'y    a_n = a + n/2    b_n = b + (y'y - m'A m) / 2
    said of x: mean x.m        variance b_n / (a_n - 1) (1 + x'A^-1 x)        which need a_n > 1

    of a pool of pairs (w, v), each as likely: shares prop. to prod_i N(y_i; w.x_i, v); the mixture's mean and variance

Shapes   x (...,n,d)   y (...,n)   queries (...,q,d)   means and variances (...,q)
Source   arXiv 2405.15115    Slug  icl-uncertainty
"""

from typing import NamedTuple

import numpy as np


class Said(NamedTuple):
    """Of each query."""

    mean: np.ndarray
    variance: np.ndarray


def conjugate(x: np.ndarray, y: np.ndarray, queries: np.ndarray, a: float, b: float, size: float) -> Said:
    """What is known under the prior above; `size` is s."""
    curve = x.swapaxes(-1, -2) @ x + np.eye(x.shape[-1]) / size**2
    w = np.linalg.solve(curve, (x * y[..., None]).sum(-2)[..., None])
    explained = (w.swapaxes(-1, -2) @ curve @ w)[..., 0, 0]
    shape, rate = a + y.shape[-1] / 2, b + 0.5 * (np.square(y).sum(-1) - explained)
    spread = (queries * np.linalg.solve(curve, queries.swapaxes(-1, -2)).swapaxes(-1, -2)).sum(-1)
    return Said((queries @ w)[..., 0], (rate / (shape - 1))[..., None] * (1 + spread))


def of_pairs(
    x: np.ndarray, y: np.ndarray, queries: np.ndarray, weights: np.ndarray, variances: np.ndarray
) -> Said:  # fmt: skip
    """What is known of one of some pairs: weights (M,d), variances (M,)."""
    off = np.square(y[..., None] - x @ weights.T).sum(-2)
    logs = -0.5 * (off / variances + y.shape[-1] * np.log(variances))
    shares = np.exp(logs - logs.max(-1, keepdims=True))
    shares = (shares / shares.sum(-1, keepdims=True))[..., None, :]
    said = queries @ weights.T
    mean = (shares * said).sum(-1)
    return Said(mean, (shares * (variances + np.square(said))).sum(-1) - np.square(mean))


def nats(y: np.ndarray, said: Said) -> np.ndarray:
    """How unlikely each y is under a normal of this mean and variance, in nats."""
    return 0.5 * (np.log(2 * np.pi * said.variance) + np.square(y - said.mean) / said.variance)
