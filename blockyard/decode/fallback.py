"""A small model writes; a large one looks after what it wrote where the small one is unsure.

    the small model   y_i = argmax p_S( . | before)      while max p_S >= fallback, `most` tokens at most
    the large model   d_i = -log p_L(y_i | before)       of all of them in one forward, and of the place behind them
    the first d_i > rollback: y_i and what follows go, and argmax p_L stands there; else argmax p_L stands behind them

What is written is neither model's greedy text: it loses something, and how much the two thresholds say. `rollback` 0,
or `fallback` above 1, writes what the large model writes; no `most`, `fallback` 0 and `rollback` inf what the small one
does, and the large one is never asked. Both models share a vocabulary. (arXiv 2302.07863)

A small model that the large one was not asked about goes on from the state behind what is settled: what it drafted
beyond that is never taken back, it is drafted again.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.state import State
from blockyard.decode.ends import Step, Stop, StopTracker
from blockyard.decode.generate import logprob, program_for
from blockyard.decode.past import OnProgram, OnState, Past
from blockyard.decode.ragged import Prompt, alone, fits, prefill, rows_of
from blockyard.decode.rules import integer
from blockyard.decode.text import Decode
from blockyard.model.model import Model

MOST = 256  # tokens that a program reads at once


@dataclass
class Calls:
    """Tokens that stand, forwards of either model for them, and how often the large one took some back."""

    tokens: int = 0
    small: int = 0
    large: int = 0
    rolled_back: int = 0


@torch.no_grad()
def fallback(
    small: Model, large: Model, prompt: Prompt, tokens: int, *, unsure: float = 0.5, rollback: float = 2.0,
    most: int | None = 10, stop: Stop = (), decode: Decode | None = None, calls: Calls | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Yield the tokens of one row, as `generate` does; several stand at once where the large model lets them.

    prompt     the ids of one row                           tokens   how many more, at most
    unsure     a chance below which the small model's likeliest token is left to the large one
    rollback   nats that the large model may be surprised by a token and let it stand; inf: any number
    most       tokens that the small model writes before it is looked after; none: as many as it is sure of
    stop, decode   as `generate` takes them                 calls    is filled in
    """
    alone(prompt, "falling back to a large model")
    rows = rows_of(large, prompt, None)
    _check(small, large, rows, tokens, unsure, rollback, most)
    pair = _Pair(small, large, rows[0], tokens, tokens if most is None else most, Calls() if calls is None else calls)
    ends = StopTracker(1, stop, decode)
    while pair.left:
        draft = pair.draft(unsure, ends.ids)
        for token, value in pair.settle(draft, rollback):
            at = pair.device
            yield ends.take(torch.tensor([token], device=at), torch.tensor([value], device=at), final=not pair.rest())
            if not ends.live:
                return


def _check(
    small: Model, large: Model, rows: list[Tensor], tokens: int, unsure: float, rollback: float, most: int | None
) -> None:
    theirs, own = (model.axes.get("stem.vocab") for model in (large, small))
    if theirs is not None and own is not None and theirs.size != own.size:
        raise UsageError(f"the small model has a vocabulary of {own.size} tokens, the large one of {theirs.size}")
    if len(rows) != 1:
        raise UsageError(f"falling back goes row by row; got {len(rows)} rows")
    if not unsure >= 0 or not rollback >= 0:
        raise UsageError(f"unsure {unsure} and rollback {rollback} must be at least 0")
    if most is not None:
        integer("most", most, 1)
    for model in (small, large):
        fits(model, rows, tokens)


class _Pair:
    """Both models behind one row: `ids` are settled, the first `given` of them handed out."""

    def __init__(self, small: Model, large: Model, prompt: Tensor, tokens: int, reach: int, calls: Calls) -> None:
        self.small, self.large, self.prompt, self.calls = small, large, prompt, calls
        self.tokens, self.reach = tokens, reach  # how many are written at most, and drafted at once
        self.device, self.ids = prompt.device, prompt.tolist()
        self.state: State = small.init_state(1)  # the small model's, behind settled tokens only
        self.past: Past | None = None  # the large model's, once it was asked
        self.given = len(self.ids)

    @property
    def left(self) -> int:
        return self.tokens + len(self.prompt) - len(self.ids)

    def rest(self) -> int:
        """How many tokens are still to be handed out, the one that goes now not among them."""
        self.given += 1
        return self.tokens + len(self.prompt) - self.given

    def draft(self, unsure: float, ends: set[int]) -> list[tuple[int, float]]:
        """The small model's likeliest tokens as long as it is sure of them, and their log-probabilities."""
        logits, self.state = prefill(self.small, self._ids(int(self.state.length[0]))[None], self.state)
        self.calls.small += 1
        found, state, most = list[tuple[int, float]](), self.state, min(self.reach, self.left)
        while True:
            p = logits[0].double().softmax(-1)
            token = int(p.argmax())
            if float(p[token]) < unsure:
                return found
            found.append((token, float(logprob(logits, torch.tensor([token], device=self.device)))))
            if len(found) == most or token in ends:
                return found
            logits, state = prefill(self.small, torch.tensor([[token]], device=self.device), state)
            self.calls.small += 1

    def settle(self, draft: list[tuple[int, float]], rollback: float) -> list[tuple[int, float]]:
        """What stands of a draft, with what the large model puts behind it or in place of what it does not bear."""
        ids = [token for token, _ in draft]
        if rollback == math.inf and ids and len(ids) == self.left:
            return self._stand(draft)  # nothing could be taken back, and nothing comes behind
        logits = self._asked(ids)
        values = logits.double().log_softmax(-1)
        said = values[torch.arange(len(ids)), torch.tensor(ids, dtype=torch.long, device=self.device)]
        held = next((i for i, value in enumerate(said.tolist()) if -value > rollback), len(ids))
        self.calls.rolled_back += held < len(ids)
        found = list(zip(ids[:held], said[:held].tolist()))
        if held < self.left:
            token = int(logits[held].argmax())
            found.append((token, float(values[held, token])))
        return self._stand(found)

    def _stand(self, found: list[tuple[int, float]]) -> list[tuple[int, float]]:
        self.ids += [token for token, _ in found]
        self.calls.tokens += len(found)
        if self.past is not None:
            self.past.back([len(self.ids) - 1])
            fresh = self._ids(int(self.past.length[0]))
            if len(fresh) > self.past.refeed:
                self.past.absorb([fresh[:-1]])
        return found

    def _asked(self, draft: list[int]) -> Tensor:
        """The large model's logits (n+1,V): in front of every token of a draft, and behind all of them."""
        self.calls.large += 1
        if self.past is None:
            self.past = self._begun()
        fresh = self._ids(int(self.past.length[0]))
        (logits,) = self.past.read([torch.cat([fresh, fresh.new_tensor(draft, dtype=torch.long)])])
        return logits[-len(draft) - 1 :]

    def _begun(self) -> Past:
        """The large model behind all that is settled but the last token; a program where `generate` makes one."""
        before = self._ids(0)[:-1]
        state = prefill(self.large, before[None])[1] if len(before) else self.large.init_state(1)
        at_once = self.reach + 1 + OnProgram.refeed
        program = program_for(self.large, [before], self.left, at_once=at_once) if at_once <= MOST else None
        if program is None:
            return OnState(self.large, state)
        program.load(state)
        return OnProgram(program)

    def _ids(self, start: int) -> Tensor:
        return torch.tensor(self.ids[start:], device=self.device)
