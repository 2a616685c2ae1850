"""What followed the same last tokens earlier in the row.

    x_{t+i} = x_{e+i}        x_{e-n} .. x_{e-1} = x_{t-n} .. x_{t-1}        the largest n that has one, then the last e

Source   arXiv 2304.04487
Family   proposers
Tags     guesses=text, draws=no
Differs  looks in the row itself, in what it wrote too; a guess may run into what it guesses, so that a loop goes on
"""

from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count
from blockyard.decode.propose import Proposal, Proposer, Rows


class PromptLookup(Proposer):
    """The last occurrence of the longest end of the row, `longest` tokens down to `shortest`, and what followed it."""

    def __init__(
        self, longest: Annotated[Count, "tokens of the longest end that is looked up"] = 3,
        shortest: Annotated[Count, "tokens of the shortest one"] = 1,
    ) -> None:  # fmt: skip
        if not 1 <= shortest <= longest:
            raise UsageError(f"lookup of {shortest} to {longest} tokens: 1 <= shortest <= longest")
        self.longest, self.shortest = longest, shortest
        self._found: list[dict[tuple[int, ...], int]] = []  # ends that have a successor, for each row
        self._read: list[int] = []

    def begin(self, rows: int) -> None:
        self._found, self._read = [{} for _ in range(rows)], [0] * rows

    def select(self, lines: list[int]) -> None:
        self._found, self._read = [self._found[i] for i in lines], [self._read[i] for i in lines]

    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        return Proposal([self._row(line, ids, n) for line, (ids, n) in enumerate(zip(rows.ids, wanted))])

    def _row(self, line: int, ids: list[int], wanted: int) -> list[int]:
        found = self._found[line]
        for end in range(max(1, self._read[line]), len(ids)):
            for n in range(self.shortest, min(self.longest, end) + 1):
                found[tuple(ids[end - n : end])] = end
        self._read[line] = len(ids)
        for n in range(min(self.longest, len(ids)), self.shortest - 1, -1):
            end = found.get(tuple(ids[-n:]))
            if end is not None:
                more = list(ids)
                for i in range(wanted):
                    more.append(more[end + i])
                return more[len(ids) :]
        return []
