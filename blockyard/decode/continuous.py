"""Requests that come and go, decoded together: a row joins when its prompt is read, and leaves when it ends.

    batch = Continuous(model, rows=8)
    batch.add(Request(ids, 100))
    while batch.busy:
        for token in batch.turn(): ...

A turn reads a piece of the prompt that waits longest and gives one token to every row that runs. What a request gets
does not depend on who else is there: its draws have its own seed, its prompt is cut where `generate` cuts it, and rows
do not meet in any sum. With a store, beginnings that are known are not read again, answers included. With speculation a
turn gives each of a few rows several tokens, the same ones.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.state import State
from blockyard.decode.ahead import Ahead, Speculation
from blockyard.decode.ends import Stop, StopTracker
from blockyard.decode.generate import AHEAD, WORTH, logprob, quiet
from blockyard.decode.past import OnProgram, OnState, Past, without
from blockyard.decode.prefix import PrefixStore
from blockyard.decode.program import Program
from blockyard.decode.ragged import fits, prefill, rows_of
from blockyard.decode.rules import PLAIN, Draws, SamplingParams, choose, integer, sound
from blockyard.decode.speculate import Counts
from blockyard.decode.text import Decode
from blockyard.model.count import stored_bytes
from blockyard.model.model import Model


class Failed(UsageError):
    """One request cannot go on and has left; the others have lost nothing, and the next turn goes on with them."""

    def __init__(self, request: "Request", why: str) -> None:
        super().__init__(why)
        self.request = request


class Guide(Protocol):
    """What limits the tokens of one request, as a grammar does."""

    def allowed(self) -> Tensor:
        """(V,) bool: what may come next, at least one token; a UsageError where there is none."""
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
    ahead: Ahead | None = None  # where there is speculation


class Continuous:
    """At most so many `rows` of a `model` at once; more requests wait in their order.

    store        where prefixes are found and left
    chunk        tokens of a prompt in one forward and one turn
    int8_cache   attention keeps keys and values in 8 bits
    speculation  how a few rows go ahead; none: a token a turn
    """

    def __init__(
        self, model: Model, rows: int = 8, *, store: PrefixStore | None = None, chunk: int = 512,
        int8_cache: bool = False, speculation: Speculation | None = None,
    ) -> None:  # fmt: skip
        integer("rows", rows, 1)
        integer("chunk", chunk, 1)
        if store is not None and (store.model is not model or store.int8_cache != int8_cache):
            raise UsageError("this store holds the prefixes of another model, or keeps keys otherwise")
        if speculation is not None and int8_cache:
            raise UsageError("speculation needs the past to the last bit, not in 8 bits; leave one out")
        self.model, self.rows, self.store, self.chunk, self.int8_cache = model, rows, store, chunk, int8_cache
        self.speculation, self.counts = speculation, Counts()
        self.waiting: deque[_Row] = deque()
        self.running: list[_Row] = []
        self.past: Past | None = None  # of those that run, in their order
        self.logits: Tensor | None = None  # (running,V) behind the last token of each

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self.waiting or self.running)

    def add(self, request: Request) -> None:
        """Let a request wait for its turn; one that cannot be answered is a UsageError here."""
        ids, ends = check(self.model, request)
        if any(row.request is request for row in (*self.waiting, *self.running)):
            raise UsageError("this request is under way; make another one")
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
        """Read on in a waiting prompt, and choose a token for every row that runs; `Failed` where one cannot go on."""
        self._admit()
        if not self.running:
            return []
        assert self.logits is not None and self.past is not None
        with quiet(isinstance(self.past, OnProgram)):
            guided = self._guided(self.logits)
            chosen = self._choose(guided)
            logprobs = logprob(self.logits, chosen)
            for line in (~logprobs.isfinite()).nonzero().flatten().tolist():
                with self._alone(line):
                    sound(logprobs[line])
            told = [
                self._told(row, int(t), float(p), x)
                for row, t, p, x in zip(self.running, chosen, logprobs, self.logits)
            ]
        for line in range(len(self.running) - 1, -1, -1):
            if told[line].end is not None:
                chosen = self._leave(line, chosen)
        if self.running:
            assert chosen is not None
            told += self._onward(chosen)
        return told

    def _onward(self, chosen: Tensor) -> list[Token]:
        """Read what was chosen, and where it pays what is guessed behind it: the tokens of these that hold."""
        assert self.past is not None and self.logits is not None
        guesses = [list[int]() for _ in self.running]
        free = all(row.request.guide is None for row in self.running)
        if self.speculation is not None and free and self.speculation.pays(self.past, self.logits):
            guesses = [self._guess(row, self.past) for row in self.running]
        self.counts.forwards += 1
        if any(guesses):
            return self._checked(guesses)
        self._settle()
        self.logits = self.past.step(chosen)
        self._keep_pieces()
        return []

    def _guess(self, row: _Row, past: Past) -> list[int]:
        """Tokens behind a row: the last one is never read, and none is beyond a piece of the store."""
        assert row.ahead is not None
        most = row.request.tokens - row.made - 1
        if self.store is not None:
            most = min(most, -len(row.ids) % self.store.block_size)
        return row.ahead.guess(past, most)

    def _checked(self, guesses: list[list[int]]) -> list[Token]:
        """One forward of what every row owes, its last token and its guesses; and what of them holds."""
        assert self.past is not None
        told, ended, behind = list[Token](), list[int](), list[Tensor]()
        rows = [(row, row.ahead) for row in self.running if row.ahead is not None]  # all of them
        with quiet(isinstance(self.past, OnProgram)):
            fresh = [[*ahead.owed, row.ids[-1], *new] for (row, ahead), new in zip(rows, guesses)]
            found = self.past.read([self._ids(ids) for ids in fresh])
            for line, ((row, ahead), new) in enumerate(zip(rows, guesses)):
                own = found[line][len(fresh[line]) - len(new) - 1 :]
                held, last = ahead.held(own, new, row.seen, self.counts)
                behind.append(last)
                values = logprob(own[:held], self._ids(new[:held])).tolist()
                for token, value, logits in zip(new, values, own):
                    told.append(self._told(row, token, value, logits))
                    if told[-1].end is not None:
                        ended.append(line)
                        break
            self.logits = torch.stack(behind)
            self.past.back([len(row.ids) for row in self.running])
            for (row, ahead), length in zip(rows, self.past.length.tolist()):
                ahead.owed = row.ids[length:]
            if max(len(ahead.owed) for _, ahead in rows) > self.past.refeed:
                self._settle()
        self._keep_pieces()
        for line in reversed(ended):
            self._leave(line)
        return told

    def _settle(self) -> None:
        """What rows owe is read by itself."""
        assert self.past is not None
        rows = [row.ahead for row in self.running if row.ahead is not None]
        if any(ahead.owed for ahead in rows):
            self.counts.forwards += 1
            with quiet(isinstance(self.past, OnProgram)):
                self.past.absorb([self._ids(ahead.owed) for ahead in rows])
            for ahead in rows:
                ahead.owed = []

    def _ids(self, ids: list[int]) -> Tensor:
        assert self.past is not None
        return torch.tensor(ids, dtype=torch.long, device=self.past.length.device)

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
        """Prompts are read in their order, one piece a turn: nobody who runs, comes or leaves waits for more."""
        if not self.waiting or len(self.running) >= self.rows:
            return
        row = self.waiting[0]
        assert row.reading is not None
        logits, state = next(row.reading)
        if logits is not None:
            self.waiting.popleft()
            row.reading = None
            self._join(row, logits, state)

    def _join(self, row: _Row, logits: Tensor, state: State) -> None:
        if row.request.rules.repetition_penalty != 1:
            row.seen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            row.seen[torch.tensor(row.ids, device=logits.device)] = True
        if self.past is None:
            at_once = 1 if self.speculation is None else self.speculation.at_once
            self.past = past_of(self.model, state, len(row.ids) + row.request.tokens, at_once)
        else:
            self.past.join(state)
        if self.speculation is not None:
            start = None if self.past.exact else state
            row.ahead = Ahead(self.speculation, self.model, row.draws, row.ids, start)
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
            held = [row.seen for row in rows if row.seen is not None]  # of all of them, or of none
            seen = torch.stack(held) if held else None
            chosen[at] = choose(logits[at], draw, rules, seen)
        return chosen

    def _guided(self, logits: Tensor) -> Tensor:
        """Logits of which the forbidden ones are as low as can be."""
        if all(row.request.guide is None for row in self.running):
            return logits
        logits = logits.clone()
        for line, row in enumerate(self.running):
            if row.request.guide is not None:
                with self._alone(line):
                    logits[line].masked_fill_(~row.request.guide.allowed(), -torch.inf)
        return logits

    @contextmanager
    def _alone(self, line: int) -> Iterator[None]:
        """What is wrong with one row ends that one; what it has read is not kept."""
        request = self.running[line].request
        try:
            yield
        except UsageError as error:
            self._leave(line, keep=False)
            raise Failed(request, str(error)) from None

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

    def _leave(self, line: int, chosen: Tensor | None = None, *, keep: bool = True) -> Tensor | None:
        """A row goes, the last one takes its line: also in the `chosen` tokens, which are given back."""
        assert self.past is not None and self.logits is not None
        if self.store is not None and keep:
            self._settle()
            self._keep(self.running[line], line)
        order = without(line, len(self.running))
        self.running = [self.running[i] for i in order]
        if order:
            self.past.leave(line)
            self.logits = self.logits[order]
        else:
            self.past = self.logits = None
        return None if chosen is None else chosen[order]

    def _keep(self, row: _Row, line: int) -> None:
        assert self.store is not None and self.past is not None
        state = self.past.row(line)
        self.store.keep(row.ids[: int(state.length[0])], state)

    def _keep_pieces(self) -> None:
        """At every whole piece of the store: recurrent memories can be taken up again only where they were kept."""
        if self.store is None:
            return
        whole = [line for line, row in enumerate(self.running) if len(row.ids) % self.store.block_size == 0]
        if whole:
            self._settle()
        for line in whole:
            self._keep(self.running[line], line)


def past_of(model: Model, state: State, capacity: int, at_once: int = 1) -> Past:
    """What a first row has read: in a program where one pays and can be, at first with room for so many tokens, of
    which so many of a row can be read at once."""
    large = stored_bytes(model) >= WORTH[0]
    program = Program.of(model, 1, min(capacity, AHEAD) + at_once - 1, state.int8_cache, at_once) if large else None
    if program is None:
        return OnState(model, state)
    program.load(state)
    return OnProgram(program)
