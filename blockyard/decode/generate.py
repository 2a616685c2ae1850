"""One token after another from the model's own state, the same for every architecture, rows of any length together.

The prompt enters in pieces of `chunk` tokens; rows that meet a stop leave the batch and cost nothing from then on. A
row's numbers depend on the seed, its own seed and the position only: neither its neighbours, nor how the prompt is
divided, nor where a first call ended and a second one went on, change which tokens it gets (but for rounding).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.state import State
from blockyard.decode.ends import Step, Stop, StopTracker
from blockyard.decode.program import Program
from blockyard.decode.ragged import Prompt, alone, begun, compact, concat, fits, prefill, rows_of
from blockyard.decode.rules import PLAIN, Draws, SamplingParams, choose, integer, sound
from blockyard.decode.text import Decode
from blockyard.model.model import Model

if TYPE_CHECKING:
    from blockyard.decode.prefix import PrefixStore


def generate(
    model: Model, prompt: Prompt, tokens: int, rules: SamplingParams = PLAIN, *,
    lengths: Tensor | Sequence[int] | None = None, seeds: Sequence[int] | None = None, stop: Stop = (),
    decode: Decode | None = None, chunk: int = 512, store: "PrefixStore | None" = None, int8_cache: bool = False,
) -> Iterator[Step]:  # fmt: skip
    """Yield a `Step` for each of at most `tokens` new tokens a row; it ends early when every row has met a stop.

    prompt       ids (B,T), padded on the right where `lengths` (B,) are given; a list of rows (T_i); or a batch with
                 `valid`, and in `more` what towers read
    rules        how a token is chosen from its logits (SamplingParams); by default drawn as the model says
    seeds        one a row, its number in the batch by default        chunk    tokens of the prompt in one forward
    stop         ids and, with `decode` (ids to text), strings        store    where prefixes are found and left
    int8_cache   attention keeps keys and values in 8 bits
    """
    rows = rows_of(model, prompt, lengths)
    own = seeds_of(rows, seeds, tokens, chunk)
    fits(model, rows, tokens)
    if store is not None:
        alone(prompt, "a store of prefixes")
    if store is not None and store.model is not model:
        raise UsageError("this store holds the prefixes of another model")
    if store is not None and store.int8_cache != int8_cache:
        raise UsageError("a store and the calls that use it keep keys alike: PrefixStore(model, int8_cache=...)")
    ends = StopTracker(len(rows), stop, decode)
    return _generate(model, rows, begun(rows, prompt), tokens, rules, own, ends, chunk, store, int8_cache)


def seeds_of(rows: Sequence[Tensor], seeds: Sequence[int] | None, tokens: int, chunk: int) -> list[int]:
    """A seed for every row, with the numbers of a request checked on the way."""
    integer("tokens", tokens, 0)
    integer("chunk", chunk, 1)
    own = list(range(len(rows))) if seeds is None else [int(seed) for seed in seeds]
    if len(own) != len(rows):
        raise UsageError(f"{len(own)} seeds for {len(rows)} rows; give one a row")
    return own


def logprob(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of each token: logits (...,V), tokens (...)."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.gather(-1, tokens[..., None])[..., 0] - wide.logsumexp(-1)


def seen_in(rows: Sequence[Tensor | list[int]], logits: Tensor, rules: SamplingParams) -> Tensor | None:
    """Which tokens each row holds already, (B,V); none where no rule asks."""
    if rules.repetition_penalty == 1:
        return None
    seen = torch.zeros_like(logits, dtype=torch.bool)
    for line, ids in zip(seen, rows):
        line[torch.as_tensor(ids, device=line.device)] = True
    return seen


@torch.no_grad()
def _generate(
    model: Model, rows: list[Tensor], prompt: Batch, tokens: int, rules: SamplingParams, seeds: list[int],
    ends: StopTracker, chunk: int, store: "PrefixStore | None", int8_cache: bool,
) -> Iterator[Step]:  # fmt: skip
    if not tokens:
        return
    draws = Draws("generate", rules, seeds, rows[0].device)
    if store is None:
        logits, state = prefill(model, prompt, model.init_state(len(rows), int8_cache=int8_cache), chunk=chunk)
    else:
        fed = [store.feed(ids, chunk=chunk) for ids in rows]
        logits, state = torch.cat([row for row, _ in fed]), concat([one for _, one in fed])
    seen = seen_in(rows, logits, rules)
    kept = _Kept(store, rows)
    program = program_for(model, rows, tokens, int8_cache) if store is None else None
    if program is not None:
        program.load(state)
        state = model.init_state()  # what the prompt left is not held twice
    try:
        for step in range(tokens):
            live = list(ends.live)
            with quiet(program is not None):
                chosen = choose(logits, draws(live, [len(rows[row]) + step for row in live]), rules, seen)
                taken = ends.take(chosen, sound(logprob(logits, chosen)), final=step + 1 == tokens)
            kept.chosen(live, chosen)
            yield taken
            if step + 1 == tokens or not ends.live:
                return
            if seen is not None:
                seen = seen.scatter(1, chosen[:, None], True)
            if len(ends.live) < len(live):
                stays = torch.tensor([live.index(row) for row in ends.live], device=chosen.device)
                kept.leave([(i, row) for i, row in enumerate(live) if row not in ends.live], state)
                kept.rows = list(ends.live) if store is not None else []
                chosen, seen = chosen[stays], None if seen is None else seen[stays]
                if program is None:
                    state = compact(state.select(stays))
                else:
                    program.keep(stays)
            if program is None:
                logits, state = prefill(model, chosen[:, None], state)
                kept.passed(state)
            else:
                logits = program.step(chosen)
    finally:
        kept.leave(list(enumerate(kept.rows)), state)


WORTH = 1 << 22, 16  # bytes of the model, and tokens, from which on a program is worth writing
AHEAD = 512  # tokens beyond the prompt that a program has capacity for at first: many more may be asked for than come


def program_for(
    model: Model, rows: list[Tensor], tokens: int, int8_cache: bool = False, at_once: int = 1
) -> Program | None:  # fmt: skip
    """A program for some more tokens of these rows; None where it cannot be or does not pay."""
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    worth = size >= WORTH[0] and tokens >= WORTH[1]
    capacity = max(map(len, rows)) + min(tokens, AHEAD) + at_once - 1
    return Program.of(model, len(rows), capacity, int8_cache, at_once) if worth else None


@contextmanager
def quiet(on: bool) -> Iterator[None]:
    """The framework's threads go on spinning after their work, in the way of those that read the program."""
    threads = torch.get_num_threads()
    if on:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if on:
            torch.set_num_threads(threads)


class _Kept:
    """What a store gets: each row's state at every multiple of its block size and when the row ends."""

    def __init__(self, store: "PrefixStore | None", rows: list[Tensor]) -> None:
        self.store = store
        self.ids = [] if store is None else [ids.tolist() for ids in rows]
        self.rows = [] if store is None else list(range(len(rows)))  # of the state, in its order

    def chosen(self, live: list[int], tokens: Tensor) -> None:
        if self.store is not None:
            for row, token in zip(live, tokens.tolist()):
                self.ids[row].append(token)

    def passed(self, state: State) -> None:
        if self.store is not None:
            full = [(i, r) for i, r in enumerate(self.rows) if len(self.ids[r]) % self.store.block_size == 0]
            self.leave(full, state)

    def leave(self, rows: list[tuple[int, int]], state: State) -> None:
        if self.store is not None:
            for line, row in rows:
                one = state.select(torch.tensor([line], device=state.length.device))
                self.store.keep(self.ids[row][: int(one.length[0])], one)
