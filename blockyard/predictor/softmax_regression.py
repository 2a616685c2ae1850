"""Softmax regression: what a step of gradient descent on its weights moves, and what a change of its rows moves.

    f = exp(A x) / sum exp(A x)        L = |f - b|^2 / 2        dL/dx = A'J (f - b)    J = diag f - f f'
    step on x       L(x'; A, b) = L(x; A, b~)      b~ = b + f(x) - f(x')        |b~ - b| <= |A|_2 |x' - x| / 2
    change of A     L(x; A', b) = L(x; A, b~)      b~ = b + f_A - f_A'          |b~ - b| <= |A' - A|_2 |x| / 2
    one for the other    A (x + dx) = (A + dA) x        dA = (A dx) x' / |x|^2

Both bounds follow from |J|_2 <= 1/2: there is no more to it than that two moves are no longer than so much. They tell
nothing of the directions.

Shapes   A (...,n,d)   x (...,d)   b, f (...,n)
Source   arXiv 2304.13276    Slug  icl-softmax-regression
Differs  bounds by the Jacobian's norm, which are tighter than exponentials of norms
"""

import numpy as np


def weights_of(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(...,n) the distribution f over the rows A."""
    scores = (rows @ x[..., None])[..., 0]
    found = np.exp(scores - scores.max(-1, keepdims=True))
    return found / found.sum(-1, keepdims=True)


def loss(rows: np.ndarray, x: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...) half the squared distance of f to b."""
    return 0.5 * np.square(weights_of(rows, x) - b).sum(-1)


def gradient(rows: np.ndarray, x: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...,d) the slope of the loss in x."""
    f = weights_of(rows, x)
    off = f * (f - b)
    return ((off - f * off.sum(-1, keepdims=True))[..., None, :] @ rows)[..., 0, :]


def descended(rows: np.ndarray, b: np.ndarray, steps: int, rate: float) -> np.ndarray:
    """(...,d) x after so many steps of gradient descent from 0."""
    x = np.zeros((*rows.shape[:-2], rows.shape[-1]))
    for _ in range(steps):
        x = x - rate * gradient(rows, x, b)
    return x


def moved(b: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(...,n) the data b~ that make up for a move of f, from what it was to what it is."""
    return b + (before - after)


def step_bound(rows: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """(...) what a step on x moves the data by at most."""
    return 0.5 * np.linalg.norm(rows, 2, axis=(-2, -1)) * np.linalg.norm(dx, axis=-1)


def rows_bound(change: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(...) what a change of the rows moves the data by at most."""
    return step_bound(change, x)


def as_change(rows: np.ndarray, x: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """(...,n,d) the change of the rows, of rank one, that does what the step does."""
    return (rows @ dx[..., None]) * (x / np.square(x).sum(-1, keepdims=True))[..., None, :]
