"""Boolean functions of numbers -1 and 1, and what learns each of them from examples.

    conjunction   y = 1 where every literal holds, x_j = w_j where w_j is not 0; else -1        of no literal: always 1
    disjunction   y = 1 where any holds: minus the conjunction of -w        majority   the sign of x.w
    parity        y = the product of the x_j where w_j is not 0

    elimination           keep the literals that hold in every positive example; say 1 where all of them hold
    elimination mod 2     what the examples' products imply: an example that is none of them is guessed to be 1
    nearest               the label of the latest example with the most numbers in common
    perceptron            the average of the weights after every example, w <- w + y x where it was wrong
    posterior             the likelier label, of functions listed with their chances

Shapes   x (...,n,d)   y (...,n)   w (...,d)   queries (...,q,d)   all of them -1, 0 or 1
Source   arXiv 2310.03016    Slug  icl-discrete-functions
"""

from collections.abc import Callable

import numpy as np

Label = Callable[[np.ndarray, np.ndarray], np.ndarray]


def conjunction(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(...,n)"""
    return np.where(((x == w[..., None, :]) | (w[..., None, :] == 0)).all(-1), 1, -1)


def disjunction(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(...,n)"""
    return -conjunction(x, -w)


def majority(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(...,n); 1 where neither side has more."""
    return np.where((x * w[..., None, :]).sum(-1) >= 0, 1, -1)


def parity(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(...,n)"""
    return np.where(w[..., None, :] != 0, x, 1).prod(-1)


def elimination(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(...,q) of conjunctions."""
    positive = y[..., None] > 0
    must = [
        ~np.any(positive & (x == wrong), axis=-2) for wrong in (-1, 1)
    ]  # x_j = 1, and x_j = -1, in all positive ones
    up, down = (np.expand_dims(each, -2) for each in must)
    broken = (up & (queries < 0)) | (down & (queries > 0))
    return np.where(broken.any(-1), -1, 1)


def elimination_of_disjunctions(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(...,q)"""
    return -elimination(x, -y, queries)


def elimination_mod_2(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(...,q) of parities."""
    table = np.concatenate([x < 0, (y < 0)[..., None]], -1)
    asked = np.concatenate([queries < 0, np.zeros((*queries.shape[:-1], 1), bool)], -1)
    count, free = x.shape[-2], np.ones(table.shape[:-1], bool)  # rows of the table that are no pivot yet
    for column in range(x.shape[-1] if count else 0):
        here = table[..., column] & free
        row = here.argmax(-1)[..., None]
        found = np.any(here, axis=-1, keepdims=True)
        pivot = (
            np.take_along_axis(table, row[..., None], -2) & found[..., None]
        )  # (...,1,d+1), zeros where there is none
        chosen = (np.arange(count) == row) & found
        table = table ^ (pivot & (table[..., column] & ~chosen)[..., None])
        asked = asked ^ (pivot & asked[..., column][..., None])
        free &= ~chosen
    return np.where(asked[..., :-1].any(-1) | ~asked[..., -1], 1, -1)


def nearest(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(...,q); 1 before the first example."""
    if x.shape[-2] == 0:
        return np.ones(queries.shape[:-1])
    alike = queries @ x[..., ::-1, :].swapaxes(-1, -2)
    return np.take_along_axis(y[..., ::-1], alike.argmax(-1), -1)


def perceptron(x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(...,q); with a constant beside the numbers."""
    x, queries = (np.concatenate([each, np.ones((*each.shape[:-1], 1))], -1) for each in (x, queries))
    w = np.zeros((*x.shape[:-2], x.shape[-1]))
    total = w.copy()
    for i in range(x.shape[-2]):
        wrong = (w * x[..., i, :]).sum(-1) * y[..., i] <= 0
        w = w + np.where(wrong, y[..., i], 0)[..., None] * x[..., i, :]
        total += w
    return np.where((queries @ total[..., None])[..., 0] >= 0, 1, -1)


def posterior(logs: np.ndarray, labels: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,P) the likelier label of every place, from the places before it and from which vector is asked.

    logs     (n,P,M) how likely each vector is under each function, in logarithms, the chance of the function in the
             first one        labels (n,P,M) what it says        y (n,P) what was so
    """
    said, known = np.zeros(y.shape), np.zeros(logs[:, 0].shape)
    for i in range(y.shape[1]):
        known = known + logs[:, i]
        chances = np.exp(known - known.max(-1, keepdims=True))
        said[:, i] = np.where((chances * labels[:, i]).sum(-1) >= 0, 1, -1)
        known = np.where(labels[:, i] == y[:, i, None], known, -np.inf)
    return said
