"""Requests that come and go, decoded together: a row joins when its prompt is read, and leaves when it ends.

    batch = Continuous(model, rows=8)
    batch.add(Request(ids, 100))
    while batch.busy:
        for token in batch.turn(): ...

A turn reads some tokens of the prompts that wait and gives one token to every row that runs. What a request gets does
not depend on who else is there: its draws have its own seed, its prompt is cut where `generate` cuts it, and rows do
not meet in any sum. With a store, beginnings that are known are not read again, answers included.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.state import State
from blockyard.decode.ends import Stop, StopTracker
from blockyard.decode.generate import WORTH, logprob, quiet
from blockyard.decode.prefix import PrefixStore
from blockyard.decode.program import Program
from blockyard.decode.ragged import compact, concat, fits, prefill, rows_of
from blockyard.decode.rules import PLAIN, Draws, SamplingParams, choose, integer, sound
from blockyard.decode.text import Decode
from blockyard.model.model import Model


class Guide(Protocol):
    """What limits the tokens of one request, as a grammar does."""

    def allowed(self) -> Tensor:
        """(V,) bool: what may come next; at least one token."""
        ...

    def take(self, token: int) -> None:
        """This token came."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing may come any more."""
        ...


@dataclass(eq=False)
class Request:
    """One text to continue.

    ids, tokens   the prompt (T,), and at most how many new tokens
    rules, seed   how a token is chosen, and the seed of its row
    stop          ids and, with `decode` (ids to text), strings
    top           so many of the likeliest tokens are told with every token, 0 to 20
    guide         what may come next, where not everything may
    known         tokens of the prompt that a store had, once it is read
    """

    ids: Tensor
    tokens: int
    rules: SamplingParams = PLAIN
    seed: int = 0
    stop: Stop = ()
    decode: Decode | None = None
    top: int = 0
    guide: Guide | None = None
    known: int = 0


def check(model: Model, request: Request) -> tuple[Tensor, StopTracker]:
    """The prompt and the ends of a request that a model can answer; a UsageError where it cannot."""
    ids = rows_of(model, [request.ids])[0]
    integer("tokens", request.tokens, 1)
    integer("top", request.top, 0)
    if request.top > 20:
        raise UsageError(f"top {request.top} must be at most 20 tokens")
    fits(model, [ids], request.tokens)
    return ids, StopTracker(1, request.stop, request.decode)


class Token(NamedTuple):
    """One token of one request.

    logprob   the model's own log p, before any rule        text    what is certain of the text with it, None without
    top       the likeliest tokens and their log p          end     None, "stop" or "length"
    """

    request: Request
    token: int
    logprob: float
    text: str | None
    top: tuple[tuple[int, float], ...]
    end: str | None


@dataclass(eq=False)
class _Row:
    """A request under way."""

    request: Request
    ids: list[int]
    draws: Draws
    ends: StopTracker
    reading: Iterator[tuple[Tensor | None, State]] | None
    made: int = 0
    seen: Tensor | None = field(default=None)  # (V,) which tokens it holds, where a rule asks


class Continuous:
    """At most so many `rows` of a `model` at once; more requests wait in their order.

    store        where prefixes are found and left
    chunk        tokens of a prompt in one forward, and of all prompts in one turn where rows run already
    int8_cache   attention keeps keys and values in 8 bits
    """

    def __init__(
        self, model: Model, rows: int = 8, *, store: PrefixStore | None = None, chunk: int = 512,
        int8_cache: bool = False,
    ) -> None:  # fmt: skip
        integer("rows", rows, 1)
        integer("chunk", chunk, 1)
        if store is not None and (store.model is not model or store.int8_cache != int8_cache):
            raise UsageError("this store holds the prefixes of another model, or keeps keys otherwise")
        self.model, self.rows, self.store, self.chunk, self.int8_cache = model, rows, store, chunk, int8_cache
        self.waiting: deque[_Row] = deque()
        self.running: list[_Row] = []
        self.lines: _Lines | None = None
        self.logits: Tensor | None = None  # (running,V) behind the last token of each

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self.waiting or self.running)

    def add(self, request: Request) -> None:
        """Let a request wait for its turn; one that cannot be answered is a UsageError here."""
        ids, ends = check(self.model, request)
        draws = Draws("generate", request.rules, [request.seed], ids.device)
        self.waiting.append(_Row(request, ids.tolist(), draws, ends, self._read(request, ids)))

    def cancel(self, request: Request) -> None:
        """No more tokens of this request; one that has ended already is passed over."""
        self.waiting = deque(row for row in self.waiting if row.request is not request)
        for line, row in enumerate(self.running):
            if row.request is request:
                self._leave(line)
                return

    @torch.no_grad()
    def turn(self) -> list[Token]:
        """Read on in waiting prompts, and choose a token for every row that runs."""
        self._admit()
        if not self.running:
            return []
        assert self.logits is not None and self.lines is not None
        with quiet(isinstance(self.lines, _OfProgram)):
            chosen = self._choose(self.logits)
            logprobs = sound(logprob(self.logits, chosen))
            told = [
                self._told(row, int(t), float(p), x)
                for row, t, p, x in zip(self.running, chosen, logprobs, self.logits)
            ]
        for line in range(len(self.running) - 1, -1, -1):
            if told[line].end is not None:
                chosen = self._leave(line, chosen)
        if self.running:
            self.logits = self.lines.step(chosen)
            self._keep_pieces()
        return told

    def _read(self, request: Request, ids: Tensor) -> Iterator[tuple[Tensor | None, State]]:
        """A prompt, a piece at a time; the logits come with the last one."""
        if self.store is not None:
            pieces = self.store.pieces(ids, chunk=self.chunk)
            request.known = int(next(pieces)[1].length)
            yield from pieces
            return
        state, logits = self.model.init_state(1, int8_cache=self.int8_cache), None
        for begin in range(0, len(ids), self.chunk):
            logits, state = prefill(self.model, ids[None, begin : begin + self.chunk], state, chunk=self.chunk)
            yield (logits if begin + self.chunk >= len(ids) else None), state

    def _admit(self) -> None:
        """Prompts are read in their order, one piece a turn where rows run that would wait for it."""
        while self.waiting and len(self.running) < self.rows:
            row, patient = self.waiting[0], bool(self.running)
            assert row.reading is not None
            logits, state = next(row.reading)
            if logits is not None:
                self.waiting.popleft()
                row.reading = None
                self._join(row, logits, state)
            if patient:
                return

    def _join(self, row: _Row, logits: Tensor, state: State) -> None:
        if row.request.rules.repetition_penalty != 1:
            row.seen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            row.seen[torch.tensor(row.ids, device=logits.device)] = True
        if self.lines is None:
            self.lines = lines_of(self.model, len(row.ids) + row.request.tokens, self.int8_cache)
        self.lines.join(state)
        self.running.append(row)
        self.logits = logits if self.logits is None else torch.cat([self.logits, logits])

    def _choose(self, logits: Tensor) -> Tensor:
        """A token for every row, (running,)."""
        alike: dict[SamplingParams, list[int]] = {}
        for line, row in enumerate(self.running):
            alike.setdefault(row.request.rules, []).append(line)
        chosen = torch.zeros(len(self.running), dtype=torch.long, device=logits.device)
        for rules, lines in alike.items():
            rows, at = [self.running[line] for line in lines], torch.tensor(lines, device=logits.device)
            drawn = [row.draws([0], [len(row.ids)]) for row in rows]
            draw = torch.cat([each for each in drawn if each is not None]) if drawn[0] is not None else None
            seen = (
                None
                if rules.repetition_penalty == 1
                else torch.stack([row.seen for row in rows if row.seen is not None])
            )
            chosen[at] = choose(_guided(logits[at], rows), draw, rules, seen)
        return chosen

    def _told(self, row: _Row, token: int, logp: float, logits: Tensor) -> Token:
        """The token is the row's now."""
        request, row.made = row.request, row.made + 1
        row.ids.append(token)
        if row.seen is not None:
            row.seen[token] = True
        if request.guide is not None:
            request.guide.take(token)
        whole = request.guide is not None and request.guide.ended
        last = row.made == request.tokens or whole
        step = row.ends.take(torch.tensor([token]), torch.tensor([logp]), final=last)
        end = "stop" if bool(step.finished[0]) or whole else "length" if last else None
        top: tuple[tuple[int, float], ...] = ()
        if request.top:
            values, ids = logits.float().log_softmax(-1).topk(min(request.top, len(logits)))
            top = tuple(zip(ids.tolist(), values.tolist()))
        return Token(request, token, logp, None if step.text is None else step.text[0], top, end)

    def _leave(self, line: int, chosen: Tensor | None = None) -> Tensor | None:
        """A row goes, the last one takes its line: also in the `chosen` tokens, which are given back."""
        assert self.lines is not None and self.logits is not None
        row, last = self.running[line], len(self.running) - 1
        if self.store is not None:
            self._keep(row, line)
        self.lines.leave(line)
        order = [last if i == line else i for i in range(last)]
        self.running = [self.running[i] for i in order]
        self.logits = self.logits[order] if order else None
        if not order:
            self.lines = None
        return None if chosen is None else chosen[order]

    def _keep(self, row: _Row, line: int) -> None:
        assert self.store is not None and self.lines is not None
        state = self.lines.state(line)
        self.store.keep(row.ids[: int(state.length[0])], state)

    def _keep_pieces(self) -> None:
        """At every whole piece of the store: recurrent memories can be taken up again only where they were kept."""
        if self.store is None:
            return
        for line, row in enumerate(self.running):
            if len(row.ids) % self.store.block_size == 0:
                self._keep(row, line)


def _guided(logits: Tensor, rows: Sequence[_Row]) -> Tensor:
    """Logits of which the forbidden ones are as low as can be."""
    if all(row.request.guide is None for row in rows):
        return logits
    logits = logits.clone()
    for line, row in zip(logits, rows):
        if row.request.guide is not None:
            line.masked_fill_(~row.request.guide.allowed(), -torch.inf)
    return logits


class _Lines(Protocol):
    """The rows that run: in a state, or in a program."""

    def join(self, state: State) -> None: ...
    def leave(self, line: int) -> None: ...
    def step(self, tokens: Tensor) -> Tensor: ...
    def state(self, line: int) -> State: ...


class _OfModel:
    """By the model's own forward."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.held: State | None = None

    def join(self, state: State) -> None:
        self.held = state if self.held is None else concat([self.held, state])

    def leave(self, line: int) -> None:
        assert self.held is not None
        last = len(self.held.length) - 1
        order = torch.tensor([last if i == line else i for i in range(last)], device=self.held.length.device)
        self.held = compact(self.held.select(order)) if last else None

    def step(self, tokens: Tensor) -> Tensor:
        logits, self.held = prefill(self.model, tokens[:, None], self.held)
        return logits

    def state(self, line: int) -> State:
        assert self.held is not None
        return compact(self.held.select(torch.tensor([line], device=self.held.length.device)))


class _OfProgram:
    """At the speed of the weights."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.like: Any = None
        program.length = program.length[:0]

    def join(self, state: State) -> None:
        self.like = state
        self.program.join(state)

    def leave(self, line: int) -> None:
        self.program.leave(line)

    def step(self, tokens: Tensor) -> Tensor:
        return self.program.step(tokens)

    def state(self, line: int) -> State:
        return self.program.state(line, self.like)


def lines_of(model: Model, capacity: int, int8_cache: bool) -> _Lines:
    """A program where one pays and can be, at first with room for one row of so many tokens."""
    size = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    program = Program.of(model, 1, min(capacity, 1024), int8_cache) if size >= WORTH[0] else None
    return _OfModel(model) if program is None else _OfProgram(program)
