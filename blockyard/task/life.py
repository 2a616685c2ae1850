"""The Game of Life on a torus: say the board one step later, cell by cell.

    @ 0 1 0 .. > 0 0 1 .. $           asked from the arrow on: each next cell, row by row, and the end
    a cell lives after the step where 3 of its 8 neighbours did, or 2 and it itself

Nothing tells how wide the board is, nor that its edges meet.

Shapes   ids: 0 dead, 1 alive, then end, beginning, arrow    T = 2 side^2 + 2    chance 1/3
Source   arXiv 2409.12182    Slug  lifegpt    Family  state tracking
Differs  five ids in place of bytes; boards of 25 cells unless more are asked for, of 1,024
"""

from itertools import product
from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, Fraction
from blockyard.task._automaton import Automaton, sides


class Life(Automaton):
    grows = ("side",)
    repeats = 0.8  # most cells are dead, before and after
    first = "e1c596079672"
    variants = ({}, dict(side=4, density=0.5))

    def __init__(
        self, *, side: Annotated[Count, "cells of a board from edge to edge"] = 5,
        density: Annotated[Fraction, "how likely a cell lives at first; none: drawn for each board"] | None = None,
    ) -> None:  # fmt: skip
        sides(3, side=side)
        self.side = side
        super().__init__((side, side), density)

    def step(self, boards: np.ndarray) -> np.ndarray:
        around = [np.roll(boards, by, (-2, -1)) for by in product((-1, 0, 1), repeat=2) if by != (0, 0)]
        count = np.sum(around, 0)
        return ((count == 3) | ((count == 2) & (boards == 1))).astype(np.int64)
