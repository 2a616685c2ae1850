"""A rule of three neighbours on a ring of cells, rule 110 or any other: say the ring one step later, cell by cell.

    @ 0 1 1 .. > 1 1 0 .. $           asked from the arrow on: each next cell, and the end
    a cell becomes bit 4 l + 2 c + r of the rule's number        l, c, r: its left neighbour, itself, its right one

Shapes   ids: 0 dead, 1 alive, then end, beginning, arrow    T = 2 size + 2    chance 1/3
Source   arXiv 2409.12182    Slug  lifegpt    Family  state tracking
Differs  a ring in place of the torus of the paper, whose game is `life`
"""

from typing import Annotated

import numpy as np
from msgspec import Meta

from blockyard.core.settings import Count, Fraction
from blockyard.task._automaton import Automaton, sides


class Rule110(Automaton):
    grows = ("size",)
    repeats = 0.75  # two kinds of cells, of which rings of any density have one more often
    first = "7e5c4ce05895"
    variants = ({}, dict(size=8, density=0.5), dict(rule=30))

    def __init__(
        self, *, size: Annotated[Count, "cells of the ring"] = 16,
        rule: Annotated[int, Meta(ge=0, le=255), "the number of the rule"] = 110,
        density: Annotated[Fraction, "how likely a cell lives at first; none: drawn for each ring"] | None = None,
    ) -> None:  # fmt: skip
        sides(3, size=size)
        self.size, self.rule = size, rule
        super().__init__((size,), density)

    def step(self, boards: np.ndarray) -> np.ndarray:
        place = 4 * np.roll(boards, 1, -1) + 2 * boards + np.roll(boards, -1, -1)
        return self.rule >> place & 1
