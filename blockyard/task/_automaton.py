"""What tasks of cellular automata share: a board, an arrow, the board a step later, and the end, as one row of ids."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.task._base import Draw, Examples, Predictor, Task, blank
from blockyard.task._metric import Metric

END, BEGIN, ARROW = 2, 3, 4  # behind 0, a dead cell, and 1, one that lives


class Automaton(Task):
    """A board begins with each cell alive with a chance of `density`, or of one drawn for each board where that is
    none; exams always draw it. `shape` is that of a board."""

    def __init__(self, shape: tuple[int, ...], density: float | None) -> None:
        self.shape, self.cells, self.density = shape, int(np.prod(shape)), density
        self.length, self.vocab, self.answers = 2 * self.cells + 2, 5, range(3)

    @abstractmethod
    def step(self, boards: np.ndarray) -> np.ndarray:
        """(n,*shape) the boards one step after boards (n,*shape) of 0 and 1."""

    def steps(self, boards: np.ndarray, count: int) -> Iterator[np.ndarray]:
        """The boards (n,*shape) after 1, 2, .. `count` steps."""
        for _ in range(count):
            boards = self.step(boards)
            yield boards

    def prompt(self, boards: np.ndarray) -> np.ndarray:
        """(n,N+2) what asks for the step after boards (n,*shape): the beginning, the cells, the arrow."""
        flat = np.asarray(boards, np.int64).reshape(-1, self.cells)
        return np.pad(np.pad(flat, ((0, 0), (1, 0)), constant_values=BEGIN), ((0, 0), (0, 1)), constant_values=ARROW)

    def read(self, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boards (n,*shape) that answers (n,L) spell, and which (n,) do: all cells of a board, then the end.

        What spells none is a board of -1.
        """
        answers = np.asarray(answers, np.int64)
        sound = np.zeros(len(answers), bool)
        if answers.shape[1] == self.cells + 1:
            sound = ((answers[:, :-1] >= 0) & (answers[:, :-1] < END)).all(1) & (answers[:, -1] == END)
        boards = np.full((len(answers), self.cells), -1, np.int64)
        boards[sound] = answers[sound, : self.cells]
        return boards.reshape(-1, *self.shape), sound

    def again(self, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prompts (n,N+2) that ask for the step after the boards that answers (n,L) spell, and which (n,) do."""
        boards, sound = self.read(answers)
        return self.prompt(np.maximum(boards, 0)), sound

    @property
    def scored_on(self) -> Task:
        """Boards of every density."""
        return self.but(density=None)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        share = draw.uniform(1) if self.density is None else self.density
        boards = (draw.uniform(self.cells) < share).astype(np.int64).reshape(n, *self.shape)
        after = self.step(boards).reshape(n, self.cells)
        tokens = np.concatenate([self.prompt(boards), after], 1)
        targets = blank(tokens)
        targets[:, self.cells + 1 :] = np.pad(after, ((0, 0), (0, 1)), constant_values=END)
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return self._answered(tokens, self.step)

    def baselines(self) -> dict[str, Predictor]:
        return {
            "all dead": lambda tokens: self._rest(tokens, np.zeros_like),
            "no change": lambda tokens: self._rest(tokens, lambda boards: boards),
            "last cell": lambda tokens: tokens,
        }

    def _rest(self, tokens: np.ndarray, rule: Any) -> np.ndarray:
        whole = np.pad(tokens, ((0, 0), (0, self.length - tokens.shape[1])))
        return self._answered(whole, rule)[:, : tokens.shape[1]]

    def _answered(self, tokens: np.ndarray, rule: Any) -> np.ndarray:
        """(n,T) the cells that a rule gives, at and behind the arrow, and the end."""
        boards = np.clip(tokens[:, 1 : self.cells + 1], 0, 1).reshape(-1, *self.shape)
        found = np.zeros_like(tokens)
        found[:, self.cells + 1 : -1] = rule(boards).reshape(-1, self.cells)
        found[:, -1] = END
        return found

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,N+3) wrong answers, whether there is one, and which of the cells and the end are wrong."""
        off = (np.asarray(said["ids"]) != examples.targets)[:, self.cells + 1 :]
        return np.concatenate([off.sum(1, keepdims=True), off.any(1, keepdims=True), off], 1).astype(np.float64)

    @property
    def also(self) -> tuple[Metric, ...]:
        return Metric("wrong boards", "share", "lower", 0.0, 1.0), Metric("worst cell", "error rate", "lower", 0.0, 1.0)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        rows = asked / (self.cells + 1)
        return {"wrong boards": float(sums[1] / rows), "worst cell": float(sums[2:].max() / rows)}


def sides(least: int, **given: int) -> None:
    """Refuse boards whose cells would be their own neighbours twice, or that no row holds."""
    for name, side in given.items():
        if not least <= side <= 1024:
            raise UsageError(f"{name}={side} must be from {least} to 1,024")
