"""Who proposes the next few tokens of a row, for the model to verify in one forward.

    PromptLookup       what followed the same last tokens earlier in the row
    Draft              another model with the same vocabulary, with a state of its own
    SelfSpeculative    the model itself with some of its steps left out, on the state that it has

A proposer that draws says what it drew from; one that does not is verified without.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.renamed import attributes
from blockyard.core.state import State
from blockyard.decode.generate import seen_in
from blockyard.decode.past import OnState, Past
from blockyard.decode.ragged import compact, padded, prefill
from blockyard.decode.rules import Draws, SamplingParams, choose, pick, probabilities
from blockyard.model.model import Model


@dataclass
class Rows:
    """The rows that still run: all their ids, what the model has read, and what it has not yet (one id or more)."""

    model: Model
    rules: SamplingParams
    draws: Draws  # for guesses
    numbers: list[int]  # of each row in the batch as it was given
    ids: list[list[int]]
    past: Past

    @property
    def pending(self) -> list[Tensor]:
        """The tokens of each row that the past has not read yet."""
        length = self.past.length
        return [torch.tensor(ids[n:], device=length.device) for ids, n in zip(self.ids, length.tolist())]


class Proposal(NamedTuple):
    """The tokens for each row, and (k,V) what each was drawn from; no p: they were not drawn."""

    tokens: list[list[int]]
    p: list[Tensor] | None = None


class Proposer(Protocol):
    """Who guesses tokens ahead for `speculate`."""

    needs_state: ClassVar[bool]  # of the model, which is no program then

    def begin(self, rows: int) -> None:
        """Forget what was: so many new rows follow."""
        ...

    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        """At most so many tokens for each row."""
        ...

    def select(self, lines: list[int]) -> None:
        """Only these rows run on, in this order."""
        ...


@dataclass
class PromptLookup:
    """The last occurrence of the longest end of the row, `longest` tokens down to `shortest`, and what followed it."""

    needs_state: ClassVar[bool] = False
    longest: int = 3
    shortest: int = 1
    _found: list[dict[tuple[int, ...], int]] = field(default_factory=list, repr=False)  # ends that have a successor
    _read: list[int] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise UsageError(f"lookup of {self.shortest} to {self.longest} tokens: 1 <= shortest <= longest")

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
                for i in range(wanted):  # it may run into what it proposes itself: a loop goes on
                    more.append(more[end + i])
                return more[len(ids) :]
        return []


__getattr__ = attributes(__name__, Lookup="PromptLookup", Skip="SelfSpeculative")


class Draft:
    """Tokens of another model. Its state before the proposal is kept, so nothing has to be taken back: the accepted
    ones enter together with the next token, which needs a forward anyway. `likeliest`: it does not draw, so that a
    seed writes the same with speculation as without."""

    needs_state: ClassVar[bool] = False

    def __init__(self, model: Model, likeliest: bool = False) -> None:
        self.model, self.likeliest = model, likeliest
        self._state: State | None = None

    def begin(self, rows: int) -> None:
        self._state = self.model.init_state(rows)

    def select(self, lines: list[int]) -> None:
        assert self._state is not None
        self._state = compact(self._state.select(torch.tensor(lines, device=self._state.length.device)))

    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        assert self._state is not None
        theirs, own = (model.axes.get("stem.vocab") for model in (rows.model, self.model))
        if theirs is not None and own is not None and theirs.size != own.size:
            raise UsageError(f"the draft has a vocabulary of {own.size} tokens, the model one of {theirs.size}")
        device = self._state.length.device
        fresh = [torch.tensor(ids[n:], device=device) for ids, n in zip(rows.ids, self._state.length.tolist())]
        proposal, self._state = _roll(self.model, fresh, self._state, rows, wanted, self.likeliest)
        return proposal


class SelfSpeculative:
    """Tokens of some steps of the model itself, in their order. Those left out keep their leaves, and what the others
    write is thrown away."""

    needs_state: ClassVar[bool] = True

    def __init__(self, steps: Iterable[int], likeliest: bool = False) -> None:
        self.steps, self.likeliest = tuple(steps), likeliest

    def begin(self, rows: int) -> None: ...

    def select(self, lines: list[int]) -> None: ...

    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        outside = [step for step in self.steps if not 0 <= step < len(rows.model.steps)]
        if outside:
            raise UsageError(f"no steps {outside}: the model's steps go from 0 to {len(rows.model.steps) - 1}")
        assert isinstance(rows.past, OnState)
        state = rows.past.state  # of what runs only: caches that did not grow have no slots for new positions
        own = {place: leaves for place, leaves in state.leaves.items() if self._runs(place)}
        return _roll(rows.model, rows.pending, replace(state, leaves=own), rows, wanted, self.likeliest, self.steps)[0]

    def _runs(self, place: Hashable) -> bool:
        """Whether the leaves of this place are read: of the ends, and of the first loop of a step that runs."""
        return place in ("stem", "head") or place in [(step, 0) for step in self.steps]


def _roll(
    model: Model, fresh: list[Tensor], state: State, rows: Rows, wanted: list[int], likeliest: bool,
    steps: tuple[int, ...] | None = None,
) -> tuple[Proposal, State]:  # fmt: skip
    """Feed the fresh tokens, then write as many as wanted; also the state before the first of them."""
    rules = SamplingParams(temperature=0, repetition_penalty=rows.rules.repetition_penalty) if likeliest else rows.rules
    logits, before = prefill(model, padded(fresh), state, steps=steps)
    before = ahead = compact(before)
    seen = seen_in(rows.ids, logits, rules)
    tokens, drawn = [], []
    for i in range(max(wanted)):
        if i:
            logits, ahead = prefill(model, tokens[-1][:, None], ahead, steps=steps)
        if rules.greedy:
            token = choose(logits, None, rules, seen)
        else:
            p = probabilities(logits, rules, seen)
            draw = rows.draws(rows.numbers, [len(ids) + i for ids in rows.ids])
            assert draw is not None
            token = pick(p, draw)
            drawn.append(p)
        tokens.append(token)
        seen = None if seen is None else seen.scatter(1, token[:, None], True)
    if not tokens:
        return Proposal([[] for _ in wanted]), before
    lists = [line[:n] for line, n in zip(torch.stack(tokens, 1).tolist(), wanted)]
    p = [line[:n] for line, n in zip(torch.stack(drawn, 1), wanted)] if drawn else None
    return Proposal(lists, p), before
