"""Expressions of + - * / modulo a prime as arrays of one size: written, read, and worked out one operation at a time.

    x_0 o_1 x_1 o_2 x_2 ...           numbers and operators from left to right, and the rank of every operator

The tree is that of the ranks: of any stretch the operator of the least rank is done last. An operation stands in
brackets where without them it would be read as part of another: where its sign binds more loosely than the one it is
under, or as loosely and it stands on the right. a / b = a b^(p-2), and b is never 0.

    reduced   the leftmost operation of two numbers becomes its value, which is never a matter of taste

Shapes   numbers (n,m+1)   signs, ranks (n,m): 0..3 for + - * /   ids of lines (n,4 m - 1): -1 behind short ones
         ids: 0..p-1 the numbers, then + - * / ( )
Source   arXiv 2305.15408    Slug  cot-theory
"""

from typing import NamedTuple

import numpy as np

from blockyard.core.draw import Draw
from blockyard.task._traced import packed

SIGNS = "+-*/()"
OPENS, CLOSES = 4, 5


class Expressions(NamedTuple):
    """n expressions of m operations each."""

    numbers: np.ndarray
    signs: np.ndarray
    ranks: np.ndarray

    def rows(self, index: np.ndarray) -> "Expressions":
        """Some of them."""
        return Expressions(*(each[index] for each in self))


def is_prime(number: int) -> bool:
    """Whether a number up to 1000 is a prime."""
    return 2 <= number <= 1000 and all(number % each for each in range(2, int(number**0.5) + 1))


def inverses(modulus: int) -> np.ndarray:
    """(p,) b with a b = 1 for every a; 0 for 0."""
    return np.array([pow(a, modulus - 2, modulus) if a else 0 for a in range(modulus)])


def drawn(draw: Draw, operators: int, modulus: int) -> Expressions:
    """Any value, then so many times a number in it becomes an operation with that value."""
    inverse, rows = inverses(modulus), np.arange(draw.rows)
    numbers, signs, ranks = draw.below(modulus, 1), *np.zeros((2, draw.rows, 0), np.int64)
    for step in range(operators):
        at, sign = draw.below(step + 1), draw.below(4)
        other = np.where(sign < 2, draw.below(modulus), 1 + draw.below(modulus - 1))  # no factor, no divisor is 0
        value = numbers[rows, at]
        left = np.choose(sign, [value - other, value + other, value * inverse[other], value * other]) % modulus
        swapped = (draw.below(2) == 0) & (sign % 2 == 0)  # of sums and products either side may be the drawn one
        left, right = np.where(swapped, other, left), np.where(swapped, left, other)
        numbers = _inserted(numbers, at, left)
        numbers[rows, at + 1] = right
        signs, ranks = _inserted(signs, at, sign), _inserted(ranks, at, np.full_like(at, step))
    return Expressions(numbers, signs, ranks)


def reduced(of: Expressions, modulus: int) -> Expressions:
    """One operation less in each."""
    numbers, signs, ranks = of
    edge = np.full((len(ranks), 1), -1)
    ready = (ranks > np.concatenate([edge, ranks[:, :-1]], 1)) & (ranks > np.concatenate([ranks[:, 1:], edge], 1))
    at, rows = ready.argmax(1), np.arange(len(ranks))
    a, b, sign = numbers[rows, at], numbers[rows, at + 1], signs[rows, at]
    value = np.choose(sign, [a + b, a - b, a * b, a * inverses(modulus)[b]]) % modulus
    numbers = _without(numbers, at + 1)
    numbers[rows, at] = value
    return Expressions(numbers, _without(signs, at), _without(ranks, at))


def written(of: Expressions, modulus: int) -> np.ndarray:
    """(n,4 m - 1) the ids of expressions, with the brackets they need; (n,1) of numbers alone."""
    numbers, signs, ranks = of
    n, m = signs.shape
    before, behind = np.zeros((2, n, m + 1), np.int64)  # brackets that open before a number, that close behind it
    rows, place = np.arange(n), np.arange(m)
    for i in range(m):
        smaller = ranks < ranks[:, i : i + 1]
        left = np.where(smaller & (place < i), place, -1).max(1)  # the operators around the stretch of this one
        right = np.where(smaller & (place > i), place, m).min(1)
        outer = np.stack([np.where(left >= 0, ranks[rows, left], -1), np.where(right < m, ranks[rows, right % m], -1)])
        under, on_right = np.where(outer[0] > outer[1], left, right % m), outer[0] > outer[1]
        own, above = signs[:, i] // 2, signs[rows, under] // 2
        needs = (outer.max(0) >= 0) & ((own < above) | (on_right & (own == above)))
        before[rows, left + 1] += needs
        behind[rows, right] += needs
    items = []
    for i in range(m + 1):
        opened, closed = (np.arange(m) < each[:, i : i + 1] for each in (before, behind))
        items += [np.where(opened, modulus + OPENS, -1), numbers[:, i : i + 1], np.where(closed, modulus + CLOSES, -1)]
        items += [modulus + signs[:, i : i + 1]] if i < m else []
    return packed(np.concatenate(items, 1), max(1, 4 * m - 1))


def read(ids: np.ndarray, operators: int, modulus: int) -> Expressions:
    """The expressions of lines (n,K) of so many operators each: looser ones, and of equals the last, are done last."""
    kind = ids - modulus
    is_number, is_sign = (ids >= 0) & (kind < 0), (kind >= 0) & (kind < OPENS)
    depth = ((kind == OPENS).astype(np.int64) - (kind == CLOSES)).cumsum(1)
    numbers = packed(np.where(is_number, ids, -1), operators + 1)
    signs = packed(np.where(is_sign, kind, -1), operators)
    depths = packed(np.where(is_sign, depth, -1), operators)
    order = np.lexsort((-np.arange(operators)[None].repeat(len(ids), 0), signs // 2, depths), axis=1)
    return Expressions(numbers, signs, np.argsort(order, axis=1))


def _inserted(row: np.ndarray, at: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Rows with a value more at a place (n,)."""
    place = np.arange(row.shape[1] + 1)
    wider = np.concatenate([row, row[:, :1] if row.shape[1] else value[:, None]], 1)
    moved = np.take_along_axis(wider, np.where(place <= at[:, None], place, place - 1) % wider.shape[1], 1)
    moved[np.arange(len(row)), at] = value
    return moved


def _without(row: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows without what stands at a place (n,)."""
    place = np.arange(row.shape[1] - 1)
    return np.take_along_axis(row, place + (place >= at[:, None]), 1)
