"""Who proposes the next few tokens of a row, for the model to verify in one forward.

    proposer.begin(rows)                        new rows: what was is forgotten
    guess = proposer.propose(rows, wanted)      some tokens behind each row, and what each was drawn from
    proposer.select(lines)                      only these rows run on

A proposer that draws says what it drew from; one that does not is verified without. The proposers that there are stand
in `decoder/`, each in a file of its own.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from blockyard.core.renamed import attributes
from blockyard.core.state import State
from blockyard.decode.generate import seen_in
from blockyard.decode.past import Past
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


class Proposer(ABC):
    """Who guesses tokens ahead for `speculate`.

    A constructor takes settings that have defaults; one that guesses by another model takes that first, as `model`.
    """

    needs_state = False  # of the model, which is no program then

    @abstractmethod
    def begin(self, rows: int) -> None:
        """Forget what was: so many new rows follow."""

    @abstractmethod
    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        """At most so many tokens for each row, which none of the other rows decides."""

    @abstractmethod
    def select(self, lines: list[int]) -> None:
        """Only these rows run on, in this order."""


MOVED = {
    "PromptLookup": "decoder:prompt_lookup",
    "Draft": "decoder:draft",
    "SelfSpeculative": "decoder:self_speculative",
}
__getattr__ = attributes(__name__, MOVED, Lookup="PromptLookup", Skip="SelfSpeculative")


def roll(
    model: Model, fresh: list[Tensor], state: State, rows: Rows, wanted: list[int], likeliest: bool,
    steps: tuple[int, ...] | None = None,
) -> tuple[Proposal, State]:  # fmt: skip
    """Guesses of a model: what it writes behind the fresh tokens of each row; also its state in front of the first.

    likeliest   it does not draw        steps   only these of its steps run
    """
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
