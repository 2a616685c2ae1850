"""The error shared among tries without end: the level of each, before it begins.

    level_t = alpha g_t (1 + kept before t)        g_t = h(t - 1) - h(t)        h(t) = 1 / (1 + log(1 + t / PACE))

The g_t sum to 1 and fall so slowly that the fortieth try has a sixteenth of the first one's. While nothing was kept the
levels sum to alpha at most, so with no true change among them, be they without end, the chance that any try is kept is
at most alpha, however tries hang together (they share the runs of a baseline). Every keep raises the levels of what
follows: of all that is kept, false ones are then a share of at most alpha on average, where the shared runs push tries
the same way.

Source   arXiv 1502.06197 (the rule), arXiv 1812.05068 (that it holds for tries that hang together so), arXiv 2311.06412
"""

import math

PACE = 10.0  # tries after which the levels begin to fall


def share(number: int) -> float:
    """g_t: what of alpha try number t = 1, 2, ... has by itself."""
    return _left(number - 1) - _left(number)


def level(alpha: float, number: int, kept: int) -> float:
    """The chance with which try number t may be kept wrongly, after so many that were kept."""
    return min(alpha, alpha * share(number) * (1 + kept))


def _left(number: int) -> float:
    return 1 / (1 + math.log1p(number / PACE))
