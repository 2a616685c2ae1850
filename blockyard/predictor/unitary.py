"""Sequences x_{t+1} = W x_t of an unknown W = diag(e^{i theta}): what a step of gradient descent says of the next one.

    one step    yhat_t = rate / (t-1) sum_{i<t} x_{i+1} <x_i, x_t>    on half the mean of |x_{i+1} - W x_i|^2, from 0
    rate        k1 / (k2 + k3 / (T-2) sum_{t=2}^{T-1} 1/(t-1))        what is best on average over theta, x_1, t
                k1 = E|x_j|^4    k2 = E|x_j|^6    k3 = sum_{r != j} E|x_j|^2 |x_r|^4        of the first vector
    exact       x_t x_t / x_{t-1}, number by number: one pair tells W

Of the rate it follows when a step recovers W: of one number that is not 0 (x_1 = c e_j: rate 1/c^2, no error) and not
of normal ones: yhat_t tends to W diag(x_1j^2 / 5 s^2) x_t.

Shapes   x (...,T,d) complex   yhat (...,T,d), 0 at the first place, where no pair is known
Source   arXiv 2405.16845    Slug  mesa-optimization
"""

import numpy as np


def best_rate(first: np.ndarray, length: int) -> float:
    """The rate for first vectors of this law, given by draws (n,d) of it, and sequences x_1 ... x_T of this length."""
    size = np.square(np.abs(first))
    k1, k2 = np.square(size).mean(), (size**3).mean()
    k3 = (size.sum(-1) * np.square(size).sum(-1) - (size**3).sum(-1)).mean() / first.shape[-1]
    return rate_of(k1, k2, k3, length)


def rate_of(k1: float, k2: float, k3: float, length: int) -> float:
    """The rate by the moments of the first vector."""
    return float(k1 / (k2 + k3 * (1 / np.arange(1, length - 1)).mean()))


def one_step(x: np.ndarray, rate: float) -> np.ndarray:
    """What a step says, at all places at once."""
    length = x.shape[-2]
    scores = np.conj(x) @ x.swapaxes(-1, -2)  # <x_i, x_t>
    scores = scores[..., :-1, :] * np.triu(np.ones((length - 1, length)), 1)
    return rate / np.maximum(np.arange(length), 1)[:, None] * (scores.swapaxes(-1, -2) @ x[..., 1:, :])


def exact(x: np.ndarray) -> np.ndarray:
    """What W says that the last pair tells."""
    said = np.zeros_like(x)
    now, before = x[..., 1:, :], x[..., :-1, :]
    known = before != 0
    said[..., 1:, :] = np.where(known, now * now / np.where(known, before, 1), 0)
    return said
