"""Which columns give the answer away: a copy of the target, another name for it, or what only follows from it.

    words, and numbers that repeat    rows of equal cells have equal answers
    numbers                           the classes lie in runs that do not meet, or the two rise together

One in a hundred of what a blind guess misses may differ. Cells that stand once are no evidence, and a rule needs MANY
rows on which it could have failed.
"""

from itertools import pairwise

import numpy as np

from blockyard.task._cells import codes, lacking

MANY = 8
FEW = 32  # different cells
SLACK = 0.01
RISES = 0.99995  # a correlation


def gives_away(values: np.ndarray, answer: np.ndarray, first: np.ndarray) -> bool:
    """Whether a plain column says the answer (n,): whole numbers that name classes, or floats.

    first   (n,) true for the first of equal rows: the others show nothing of a column of many different cells
    """
    code = codes(values)
    rows = _repeated(code, first if code.max() >= FEW else np.ones(len(code), bool))
    if answer.dtype.kind == "f":
        return _explains(code[rows], answer[rows]) or (values.dtype.kind == "f" and _rises(values, answer))
    return _names(code[rows], answer[rows]) or (values.dtype.kind == "f" and _parts(values, answer))


def _repeated(code: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The rows that count and of which another one has the same cell, if most do; none otherwise."""
    counts = np.bincount(code[counted], minlength=code.max() + 1)
    found = np.flatnonzero(counted & (counts[code] > 1))
    return found if 2 * len(found) >= counted.sum() else found[:0]


def _names(code: np.ndarray, answer: np.ndarray) -> bool:
    if not len(code):
        return False
    table = np.zeros((code.max() + 1, answer.max() + 1), np.int64)
    np.add.at(table, (code, answer), 1)
    blind = table.sum() - table.sum(0).max()
    return bool(blind >= MANY and table.sum() - table.max(1).sum() <= SLACK * blind)


def _explains(code: np.ndarray, answer: np.ndarray) -> bool:
    if len(answer) < MANY or not answer.var():
        return False
    counts = np.bincount(code)
    means = np.bincount(code, answer) / np.maximum(counts, 1)
    return bool(np.square(answer - means[code]).mean() <= (1 - RISES) * answer.var())


def _parts(values: np.ndarray, answer: np.ndarray) -> bool:
    """Whether sorted by this column the classes stand in one run each."""
    there = ~lacking(values)
    values, answer = values[there], answer[there]
    counts = np.bincount(answer)
    if 2 * len(answer) < len(there) or len(answer) - counts.max(initial=0) < MANY:
        return False
    present = np.flatnonzero(counts)
    runs = sorted((values[answer == each].min(), values[answer == each].max()) for each in present)
    return all(last < first for (_, last), (first, _) in pairwise(runs))


def _rises(values: np.ndarray, answer: np.ndarray) -> bool:
    there = ~lacking(values)
    values, answer = values[there], answer[there]
    if len(answer) < MANY or 2 * len(answer) < len(there):
        return False
    pairs = (values, answer), (codes(values), codes(answer))  # as they are, and by their ranks
    return any(a.std() > 0 and b.std() > 0 and abs(np.corrcoef(a, b)[0, 1]) > RISES for a, b in pairs)
