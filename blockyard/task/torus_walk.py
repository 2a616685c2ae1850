"""A walk on a coloured torus, where the colour behind the next move is asked.

    r 2 d 0 d 1 l ...                 a move, the colour that is then seen, a move, ...; asked at moves: the colour

Where the walk starts is not told. The colours of the cells are the same in all examples, and every start that explains
what was seen stays possible; a colour is asked where all of them say the same. With `ask=cell` it is asked, at colours
where one start is left, which cell that is: the same rows, for whoever reads it off a model that learned the colours.

Shapes   ids: the moves up, down, left, right; then the colours; then the cells, which stand in no row    T = length
         chance 1/colours, of cells 1/side^2
Source   arXiv 2511.05963    Slug  next-latent    Family  state tracking
Differs  a torus of few cells in place of the streets of a city
"""

from typing import Annotated, Literal

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Task, at_least, blank

MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])


class TorusWalk(Task):
    first = "661b0b3a024e"
    variants = ({}, dict(side=3, colours=4, length=24), dict(side=4, length=48, ask="cell"))

    def __init__(
        self, *, side: Annotated[Count, "cells from edge to edge"] = 5,
        colours: Annotated[Count, "different colours"] = 3, length: Annotated[Count, "moves and colours of a row"] = 64,
        ask: Annotated[Literal["colour", "cell"], "what is asked"] = "colour",
    ) -> None:  # fmt: skip
        at_least(2, side=side, colours=colours)
        at_least(8, length=length)
        self.side, self.colours, self.length, self.ask = side, colours, length, ask
        first = len(MOVES) + (colours if ask == "cell" else 0)
        self.vocab = len(MOVES) + colours + side**2
        self.answers = range(first, first + (side**2 if ask == "cell" else colours))
        self.seen = Draw(0, 1, stream=2).below(colours, side, side)[0]  # (S,S) the colour of every cell

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        start, moves = draw.below(self.side, 2), draw.below(len(MOVES), self.length // 2 + 1)
        at = (start[:, None] + MOVES[moves].cumsum(1)) % self.side
        rows = np.stack([moves, len(MOVES) + self.seen[at[..., 0], at[..., 1]]], 2).reshape(n, -1)
        tokens = rows[:, : self.length]
        found, sure = self._said(tokens)
        return Examples(tokens, np.where(sure, found, blank(tokens)))

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return self._said(tokens)[0]

    def _said(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,T) the answer at each place, and whether every start that is left says the same there."""
        cells = np.stack(np.divmod(np.arange(self.side**2), self.side), 1)  # (C,2)
        left = np.ones((len(tokens), len(cells)), bool)  # starts that explain what was seen
        gone = np.zeros((len(tokens), 1, 2), np.int64)
        found, sure, colour = np.zeros_like(tokens), np.zeros(tokens.shape, bool), self.seen.reshape(1, -1)
        for t, token in enumerate(tokens.T):
            if t % 2:
                left = left & (colour == token[:, None] - len(MOVES))
                if self.ask == "cell":
                    found[:, t] = self.answers.start + self._place(cells[left.argmax(1)] + gone[:, 0])
                    sure[:, t] = left.sum(1) == 1
                continue
            gone = gone + MOVES[np.clip(token, 0, len(MOVES) - 1)][:, None]
            colour = self.seen.reshape(-1)[self._place(cells + gone)]  # (n,C) seen from each start
            if self.ask == "colour":
                votes = (left[..., None] & (colour[..., None] == np.arange(self.colours))).sum(1)
                found[:, t], sure[:, t] = len(MOVES) + votes.argmax(1), (votes > 0).sum(1) == 1
        return found, sure

    def _place(self, at: np.ndarray) -> np.ndarray:
        """The number of the cell at (..., 2)."""
        row, column = np.moveaxis(at % self.side, -1, 0)
        return row * self.side + column
