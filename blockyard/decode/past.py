"""What a model has read, for those who read ahead and go back, and for rows that come and go: a state, or a program.

    logits = past.read(rows)      some tokens of each row -> the logits behind each of them
    past.back(lengths)            what was read too much is taken back
    past.absorb(rows)             read, and nothing asked
    logits = past.step(tokens)    one token of each row, for good
    past.join(state)              a row more, behind the others; `leave(line)` takes one out, `row(line)` copies it

Caches are cut where they should end. A recurrent leaf goes back to the mark before the last reading, so a row may end
up shorter than it should: `length` says how long it is, and what is missing is read again with what comes next.
"""

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from blockyard.core.state import State
from blockyard.decode.program import Program
from blockyard.decode.ragged import compact, concat, padded, prefill
from blockyard.model.model import Model


class Past(Protocol):
    """What guesses are checked against: rows that are read further, taken back and chosen among."""

    exact: bool  # several tokens are read as one at a time is, to the last bit
    refeed: int  # so many tokens cost less together with others than in a reading of their own

    @property
    def length(self) -> Tensor:
        """(rows,) tokens read."""
        ...

    def read(self, rows: list[Tensor]) -> list[Tensor]:
        """The logits (n,V) behind some more tokens (n,) of each row."""
        ...

    def back(self, lengths: list[int]) -> None:
        """Every row at this length, or where it was before the last reading."""
        ...

    def absorb(self, rows: list[Tensor]) -> None:
        """Some more tokens of each row, for good; none is fine."""
        ...

    def select(self, lines: list[int]) -> None:
        """Go on with these rows, in this order."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """The logits (rows,V) behind one more token of each row (rows,), for good; the next step overwrites them."""
        ...

    def join(self, state: State) -> None:
        """Some more rows, behind the others, after what their prompts left."""
        ...

    def leave(self, line: int) -> None:
        """One row goes, and the last one takes its place; one at least stays."""
        ...

    def row(self, line: int) -> State:
        """What one row has read."""
        ...


REFEED = 16  # a forward of one token costs as much as about ten more tokens in another one: measured


class OnState:
    """By the model's own forward, which rounds many tokens otherwise than one."""

    exact = False

    def __init__(self, model: Model, state: State) -> None:
        self.model, self.state, self.refeed = model, state, REFEED

    @property
    def length(self) -> Tensor:
        return self.state.length

    def read(self, rows: list[Tensor]) -> list[Tensor]:
        out = self.model(padded(rows), replace(self.state, marks=()).mark())
        self.state = out.state
        return [logits[-len(ids) :] for logits, ids in zip(out.logits, rows)]

    def back(self, lengths: list[int]) -> None:
        state = self.state.rewind(torch.tensor(lengths, device=self.length.device))
        self.state = compact(replace(state, marks=()))

    def absorb(self, rows: list[Tensor]) -> None:
        self.state = compact(prefill(self.model, padded(rows), self.state)[1])

    def select(self, lines: list[int]) -> None:
        self.state = compact(self.state.select(torch.tensor(lines, device=self.length.device)))

    def step(self, tokens: Tensor) -> Tensor:
        logits, self.state = prefill(self.model, tokens[:, None], self.state)
        return logits

    def join(self, state: State) -> None:
        self.state = concat([self.state, state])

    def leave(self, line: int) -> None:
        self.select(without(line, len(self.length)))

    def row(self, line: int) -> State:
        return compact(self.state.select(torch.tensor([line], device=self.length.device)))


class OnProgram:
    """Rows are fed as many tokens as the longest; what a shorter one got too much is taken back with `back`."""

    exact, refeed = True, 3

    def __init__(self, program: Program) -> None:
        self.program = program

    @property
    def length(self) -> Tensor:
        return self.program.length

    def read(self, rows: list[Tensor]) -> list[Tensor]:
        self.program.mark()
        tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for line, ids in zip(tokens, rows):
            line[: len(ids)] = ids
        return [logits[: len(ids)] for logits, ids in zip(self.program.feed(tokens), rows)]

    def back(self, lengths: list[int]) -> None:
        self.program.rewind(torch.tensor(lengths))

    def absorb(self, rows: list[Tensor]) -> None:
        ends = self.length + torch.tensor([len(ids) for ids in rows])
        while bool((left := ends - self.length).any()):  # no row that goes on is fed too much: it would go back
            many = int(left[left > 0].min())
            goal = self.length + left.clamp(max=many)
            begin = [len(ids) - n for ids, n in zip(rows, left.tolist())]
            self.read([ids[at : at + many] for ids, at in zip(rows, begin)])
            self.program.rewind(goal)

    def select(self, lines: list[int]) -> None:
        self.program.keep(torch.tensor(lines))

    def step(self, tokens: Tensor) -> Tensor:
        return self.program.step(tokens)

    def join(self, state: State) -> None:
        self.program.join(state)

    def leave(self, line: int) -> None:
        self.program.leave(line)

    def row(self, line: int) -> State:
        return self.program.row(line)


def without(line: int, rows: int) -> list[int]:
    """The order of the rows that stay where one leaves: the last one takes its place."""
    return [rows - 1 if i == line else i for i in range(rows - 1)]
