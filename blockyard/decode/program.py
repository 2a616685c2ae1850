"""A token or a few through a whole model at the speed of its weights: its own forward, recorded and compiled.

    program = Program.of(model, rows=1, capacity=512)   None where the model, its precision or its device cannot
    program.load(state)                                 what the prompt left
    program.join(state); program.leave(line)            rows come and go; `row(line)` is what one has read
    logits = program.step(tokens)                       (rows,) -> (rows,V), which the next step overwrites
    logits = program.feed(tokens)                       (rows,n) -> (rows,n,V), n of at most `at_once`: the same to the
                                                        last bit as n steps
    program.mark(); ...; program.rewind(length)         back to some length, or to the mark where something is recurrent

Matrices are read where they lie, small vectors are copied. States have room for `capacity` tokens; where that ends, the
program is written again with twice as much.
"""

import logging
from functools import cache

import torch
from torch import Tensor

from blockyard.core.state import State
from blockyard.decode import framework  # noqa: F401  (what the operations of the framework become)
from blockyard.decode.emit import Emitter
from blockyard.decode.exchange import enter, left
from blockyard.decode.graph import traced
from blockyard.decode.record import Unrecordable
from blockyard.kernels.dispatch import unwatched
from blockyard.kernels.program.builder import Builder
from blockyard.model.model import Model

LOG = logging.getLogger("blockyard")
LITTLE = 1 << 20  # bytes of weights that one thread reads sooner than two have met


@cache
def _told(why: str) -> None:
    """Say once why a model decodes as it trains."""
    LOG.warning("decoding by the model's own forward, which is slower: %s", why)


class Program:
    """A model as instructions, for so many rows and at first so many tokens, of which some can come at once."""

    def __init__(self, model: Model, rows: int, capacity: int, int8_cache: bool = False, at_once: int = 1) -> None:
        self.model = model  # its matrices are read where they lie
        self.graph = traced(model, int8_cache)
        self._build(Builder(rows, capacity, next(model.parameters()).dtype, int8_cache, at_once))
        self.length = torch.zeros(rows, dtype=torch.long)
        self.marked: tuple[Tensor, list[Tensor]] | None = None
        self.arrived = torch.zeros(8, dtype=torch.long)
        self.threads = 1 if self.builder.read < LITTLE else torch.get_num_threads()

    def _build(self, w: Builder) -> None:
        self.builder, self.logits = w, Emitter(w, self.graph).run()
        self.instructions = torch.tensor(w.instructions)
        self.numbers = torch.tensor(w.numbers or [0.0])

    def _grow(self, capacity: int, rows: int = 0) -> None:
        """Go on with more capacity, for the rows that are left and those that will come."""
        old, left = self.builder, len(self.length)
        self._build(Builder(max(rows, left), capacity, old.dtype, old.int8_cache, old.at_once))
        for path, made in self.builder.states.items():
            for name, into in made.items():
                held = old.states[path][name][:left]
                into[tuple(map(slice, held.shape))] = held

    @staticmethod
    def of(model: Model, rows: int, capacity: int, int8_cache: bool = False, at_once: int = 1) -> "Program | None":
        """None where something about the model is not known here, or somebody is to see its operations."""
        first = next(model.parameters())
        elsewhere = any(not each.is_cpu for each in (*model.parameters(), *model.buffers()))
        hooked = any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
        if first.dtype not in (torch.float32, torch.bfloat16) or elsewhere or hooked or not unwatched(first):
            return None
        try:
            return Program(model, rows, capacity, int8_cache, at_once)
        except Unrecordable as why:
            _told(str(why))
            return None

    def step(self, tokens: Tensor) -> Tensor:
        """The logits behind one more token a row."""
        return self.feed(tokens[:, None])[:, 0]

    def feed(self, tokens: Tensor) -> Tensor:
        """The logits behind each of some more tokens a row."""
        from blockyard.kernels.program.cpu import NONE, run
        from blockyard.kernels.toolkit.parallel import spmd

        rows, many = tokens.shape
        assert many <= self.builder.at_once, "more tokens than lines: they would be written anywhere"
        if int(self.length.max()) + many > self.builder.capacity:
            self._grow(2 * self.builder.capacity)
        places = self.length[:, None] + torch.arange(many)
        given = (t.numpy() for t in (self.instructions, self.numbers, tokens.flatten(), places.flatten()))
        spmd(run, self.threads, self.arrived.numpy(), *given, rows, many, NONE)
        self.length += many
        return self.logits.held[: rows * many, : self.logits.size].view(rows, many, -1)

    @property
    def recurrent(self) -> list[Tensor]:
        """What has the whole past in one value."""
        return [t for made in self.builder.states.values() for name, t in made.items() if name == "memory"]

    def mark(self) -> None:
        """A point that `rewind` can reach."""
        rows = len(self.length)
        self.marked = self.length.clone(), [held[:rows].clone() for held in self.recurrent]

    def rewind(self, length: Tensor) -> None:
        """Every row at its length (rows,); rows of recurrent models that are beyond it, at the mark."""
        behind = length < self.length
        if self.recurrent and bool(behind.any()):
            assert self.marked is not None
            length = torch.where(behind, self.marked[0], self.length)
            for held, kept in zip(self.recurrent, self.marked[1]):
                held[: len(kept)][behind] = kept[behind]
        self.length.copy_(length)

    def load(self, state: State) -> None:
        """What a prompt left, row by row."""
        self.length.copy_(state.length)
        if int(self.length.max()) > self.builder.capacity:
            self._grow(int(self.length.max()))
        enter(self.builder, 0, state)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only; marks are gone."""
        self.length, self.marked = self.length[rows], None
        for made in self.builder.states.values():
            for held in made.values():
                held[: len(rows)] = held[rows]

    def join(self, state: State) -> None:
        """Some more rows, behind the others, after what their prompts left; marks are gone."""
        begin, self.marked = len(self.length), None
        rows, longest = begin + len(state.length), int(state.length.max())
        if rows > self.builder.rows or longest > self.builder.capacity:
            self._grow(max(longest, self.builder.capacity), max(rows, 2 * begin))
        self.length = torch.cat([self.length, state.length])
        enter(self.builder, begin, state)

    def leave(self, line: int) -> None:
        """One row goes, and the last one takes its place; marks are gone."""
        last, self.marked = len(self.length) - 1, None
        if line != last:
            self.length[line] = self.length[last]
            for made in self.builder.states.values():
                for held in made.values():
                    held[line] = held[last]
        self.length = self.length[:last]

    def row(self, line: int) -> State:
        """What one row has read, as the model's own state of it."""
        return left(self.builder, line, int(self.length[line]), self.graph.like)


def refusal(model: Model) -> str | None:
    """What keeps a model of a known precision from being a program; None where nothing does."""
    if not unwatched(next(model.parameters())):
        return "there is no numba here, or other kernels are asked for"
    try:
        Program(model, 1, 64)
    except Unrecordable as why:
        return str(why)
    return None
