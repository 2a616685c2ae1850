"""A token or a few through a whole model at the speed of its weights: its own forward, recorded and compiled.

    program = Program.of(model, rows=1, capacity=512)   None where the model, its precision or its device cannot
    program.load(state)                                 what the prompt left
    logits = program.step(tokens)                       (rows,) -> (rows,V), which the next step overwrites
    logits = program.feed(tokens)                       (rows,n) -> (rows,n,V), n of at most `at_once`: the same to the
                                                        last bit as n steps
    program.mark(); ...; program.rewind(length)         back to some length, or to the mark where something is recurrent

Matrices are read where they lie, small vectors are copied. States have room for `capacity` tokens; where that ends, the
program is written again with twice as much.
"""

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from blockyard.core.state import Coded, State
from blockyard.decode import framework  # noqa: F401  (what the operations of the framework become)
from blockyard.decode.emit import Emitter
from blockyard.decode.graph import traced, within
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

    def _grow(self, capacity: int) -> None:
        """Go on with more capacity, for the rows that are left."""
        old, rows = self.builder, len(self.length)
        self._build(Builder(rows, capacity, old.dtype, old.int8_cache, old.at_once))
        for path, made in self.builder.states.items():
            for name, into in made.items():
                held = old.states[path][name][:rows]
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
        for path, made in self.builder.states.items():
            leaves = within(state.leaves, path)
            for name, into in made.items():
                into.zero_()
                if name in ("keys", "values", "scales"):
                    _enter(into, name, leaves, state)
                else:
                    into.copy_(leaves.transpose(1, 2) if leaves.shape != into.shape else leaves)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only; marks are gone."""
        self.length, self.marked = self.length[rows], None
        for made in self.builder.states.values():
            for held in made.values():
                held[: len(rows)] = held[rows]


def refusal(model: Model) -> str | None:
    """What keeps a model of a known precision from being a program; None where nothing does."""
    if not unwatched(next(model.parameters())):
        return "there is no numba here, or other kernels are asked for"
    try:
        Program(model, 1, 64)
    except Unrecordable as why:
        return str(why)
    return None


def _enter(into: Tensor, name: str, leaves: Any, state: State) -> None:
    """Keys (G,S/64,D,64), values (G,S,V) or scales of codes (G,2,S) of every row at their positions."""
    if "recent" in leaves:
        held, at = leaves["recent"], leaves["recent"]["places"] - 1
    else:
        held, at = leaves["cache"]._asdict(), state.positions
    k, v = held["k"], held["v"]
    if name == "scales":
        found = torch.cat([k.scales, v.scales], -1)  # (B,S,G,2)
    else:
        found = k if name == "keys" else v
        found = found.codes if isinstance(found, Coded) else found.to(into.dtype)
    for row, values, positions in zip(into, found, at):
        values, slots = values[positions >= 0], positions[positions >= 0]  # (S,G,...)
        if name == "values":
            row[:, slots] = values.transpose(0, 1)
        elif name == "keys":
            row[:, slots // row.shape[3], :, slots % row.shape[3]] = values
        else:
            row[:, :, slots] = values.permute(1, 2, 0)
