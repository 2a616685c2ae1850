"""What a part may know of this forward pass: where each token stands and who may see whom."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.random import uniform, uniform_at


class Past(NamedTuple):
    """The key side of a call with a state: (B,S) positions (-1: an empty slot) and orders, this piece included."""

    positions: Tensor
    order: Tensor | None
    int8: bool = False  # keys and values are kept in 8 bits


class Memory(NamedTuple):
    """What another stream leaves to be read: x (B,S,M), and which of its tokens count (B,S); None: all."""

    x: Tensor
    valid: Tensor | None = None

    def each(self, fn: Callable[[Tensor], Tensor]) -> "Memory":
        """`fn` of everything that has rows."""
        return Memory(fn(self.x), None if self.valid is None else fn(self.valid))


class Moment(NamedTuple):
    """When a forward of training happens: the seed of the run, the optimiser's step, the micro-batch's first row, and
    the share of the run that lies before this step."""

    seed: int
    tick: int | Tensor
    micro_batch: int = 0
    progress: float = 0.0


class Seen(NamedTuple):
    """A sum over tokens and their number, for the part that saw them to keep."""

    total: Tensor
    count: Any

    def __add__(self, other: Any) -> "Seen":
        return Seen(self.total + other.total, self.count + other.count)


class Penalty(NamedTuple):
    """A mean over the tokens of a forward, already weighed, that every objective adds to its loss."""

    loss: Tensor

    def __add__(self, other: Any) -> "Penalty":
        return Penalty(self.loss + other.loss)


Captures = dict[tuple[int, int, str, str], Any]


class Call(NamedTuple):
    """Frozen: a call is replaced, never written into, but for `memo`, which is filled before the first step, and
    `captures`, which each step makes for its own.

    positions (B,T)   valid tokens before this one in its segment, the past included
    valid     (B,T)   which tokens count; None: all
    segment   (B,T)   the number of each token's segment in its row, rising from 0; None: one a row
    reset     (B,T)   the first tokens of segments, the row's first one apart; None with `segment`
    order             None: as stored (causal); 0: everybody sees everybody; (B,T): key.order <= query.order
    past              the positions of all keys, cached ones first, while a state is kept
    grid              the sides of a regular grid that the tokens fill, row by row; None: a plain row
    conditions        what holds of a whole row, by name, rows first
    memory            what towers leave to be read, by their names; with a state, at its first piece only
    aligned           every row has the same positions and no token is left out
    dtype             of the stream
    step, loop        which step of the depth program runs (-1: the stem), and for which time
    seed, tick, micro_batch
                      what random numbers depend on: the run's seed, the optimiser's step (None outside training, a
                      tensor () where the model is compiled), the first row of the micro-batch
    progress          the share of the training that lies before this step
    late              what backward leaves for `Part.update`, while training
    points            hook points that this forward asks for, by (path, name): "read", or a function of the value
    memo              what all layers share (rotary tables, masks), by a key that says what it is of
    readable (B,T)    which tokens others may read; None: all
    lead              how many first places of each row are virtual tokens, of which nothing is said
    captures          values read at hook points, by (step, loop, path, name), and what parts observe and penalise;
                      None: nobody collects them
    """

    positions: Tensor
    valid: Tensor | None = None
    segment: Tensor | None = None
    reset: Tensor | None = None
    order: Any = None
    past: Past | None = None
    grid: tuple[int, ...] | None = None
    conditions: Mapping[str, Tensor] = {}
    memory: Mapping[str, Memory] = {}
    aligned: bool = True
    dtype: torch.dtype = torch.float32
    step: int = 0
    loop: int = 0
    seed: int = 0
    tick: Any = None
    micro_batch: int = 0
    progress: float = 0.0
    late: dict[tuple[Any, ...], Seen] | None = None
    points: dict[tuple[str, str], Any] | None = None
    memo: dict[Hashable, Any] = {}
    captures: Captures | None = None
    readable: Tensor | None = None
    lead: int = 0

    @staticmethod
    def plain(x: Tensor, *, causal: bool = True) -> "Call":
        """The call of a part that is used alone: whole rows of valid tokens."""
        rows, length = x.shape[:2]
        positions = torch.arange(length, device=x.device).expand(rows, length)
        return Call(positions, order=None if causal else 0, dtype=x.dtype, memo={}, captures={})

    @property
    def training(self) -> bool:
        """Whether this forward trains: what is drawn to train (dropout, noise) is drawn only then."""
        return self.tick is not None

    def memoised(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `prepare` put into the memo, or the same made here (never stored: steps stay pure)."""
        found = self.memo.get(key)
        return make() if found is None else found

    def zero_invalid(self, x: Tensor) -> Tensor:
        """x (B,T,...) with zeros where a token does not count."""
        if self.valid is None:
            return x
        return x.masked_fill(~self.valid.reshape(*self.valid.shape, *[1] * (x.dim() - 2)), 0)

    def behind_lead(self) -> "Call":
        """The call of the tokens alone, for what reads them behind the last step."""
        if not self.lead:
            return self

        def cut(field: Tensor | None) -> Tensor | None:
            return None if field is None else field[:, self.lead :]

        held = {name: cut(getattr(self, name)) for name in ("valid", "segment", "reset", "readable")}
        return self._replace(positions=self.positions[:, self.lead :], lead=0, **held)

    def laid(self, length: int, grid: tuple[int, ...] | None = None, *, each: int = 1, **changed: Any) -> "Call":
        """The call of so many other tokens a row, all of which count: with it a stem or a junction goes on.

        each   rows that every row becomes, next to each other
        """
        if isinstance(self.order, Tensor) or self.past is not None:
            raise UsageError("tokens that are laid anew keep no state, and no order that a batch gave them")
        positions = torch.arange(length, device=self.positions.device).expand(each * len(self.positions), length)
        if each > 1:
            changed["conditions"] = {name: held.repeat_interleave(each, 0) for name, held in self.conditions.items()}
            changed["memory"] = {
                name: held.each(lambda x: x.repeat_interleave(each, 0)) for name, held in self.memory.items()
            }
        return self._replace(
            positions=positions,
            valid=None,
            segment=None,
            reset=None,
            readable=None,
            grid=grid,
            aligned=True,
            memo={},
            **changed,
        )

    def observe(self, path: str, name: str, total: Tensor, count: Any) -> None:
        """A sum over this forward's tokens and their number, for `Part.update` after the optimiser's step."""
        if self.training:
            self._leave(path, name, Seen(total.detach(), count))

    def penalise(self, path: str, name: str, mean: Tensor, weight: float) -> None:
        """A mean over this forward's tokens that every objective adds to its loss, with this weight."""
        if self.training and weight:
            self._leave(path, name, Penalty(weight * mean))

    def later(self, path: str) -> Callable[[str, Tensor, Any], None]:
        """What `observe` does, for backward to call: said twice of the same step, it counts once."""
        found, key = self.late, (path, self.micro_batch, self.step, self.loop)

        def report(name: str, total: Tensor, count: Any) -> None:
            if found is not None:
                found[(*key, name)] = Seen(total.detach(), count)

        return report

    def _leave(self, path: str, name: str, value: Any) -> None:
        """Something of a kind of its own, added to what this step has left under that name."""
        if self.captures is not None:
            key = (self.step, self.loop, path, f"{type(value).__name__}:{name}")
            self.captures[key] = self.captures[key] + value if key in self.captures else value

    def capture(self, path: str, name: str, value: Tensor) -> None:
        """Leave a value for the caller; a step returns its captures, so that recomputation adds none."""
        if self.captures is not None:
            self.captures[self.step, self.loop, path, name] = value

    def uniform(self, path: str, shape: tuple[int, ...]) -> Tensor:
        """Numbers in [0,1) by (seed, tick, micro_batch, step, loop, path) only: recomputed, resumed, they repeat.

        Each step of training and each of its micro-batches draws its own; outside training they are always the same.
        """
        clock = (self.tick, self.micro_batch) if self.training else ()
        return uniform((self.seed, self.step, self.loop, path), shape, self.positions.device, clock)

    def uniform_at(self, path: str, places: Tensor) -> Tensor:
        """Numbers in [0,1) by (seed, tick, path) and a place each: of pairs, say, whatever others are asked for.

        The same in every step and for all micro-batches, since they are no row's.
        """
        return uniform_at((self.seed, path), places, (self.tick,) if self.training else ())

    def dropout(self, path: str, x: Tensor, share: float) -> Tensor:
        """x, while training with this share of its numbers drawn to be 0 and the others scaled up to make up for it."""
        if not self.training or not share:
            return x
        return x * (self.uniform(path, tuple(x.shape)) >= share).to(x.dtype) / (1 - share)

    def regroup(self, index: Tensor) -> "Call":
        """The call of the tokens `index` (R,K), flat positions b*T+t with -1 for an empty slot, as R new rows."""

        def take(field: Tensor | None) -> Tensor | None:
            return None if field is None else gather(field, index)

        full = torch.ones_like(self.positions, dtype=torch.bool) if self.valid is None else self.valid
        order = self.positions if self.order is None else self.order
        order = take(order) if isinstance(order, Tensor) else order
        valid = gather(full, index) & (index >= 0)
        length = full.shape[1]
        owner = index.clamp(min=0) // length  # tokens of two rows stay apart, as they were
        # what belongs to a whole row is that of a new row's first token
        conditions = {name: value[owner[:, 0]] for name, value in self.conditions.items()}
        memory = {name: held.each(lambda x: x[owner[:, 0]]) for name, held in self.memory.items()}
        if self.segment is not None:
            owner = owner * length + gather(self.segment, index)
        reset = resets(owner, valid)
        return self._replace(
            positions=gather(self.positions, index), valid=valid, segment=reset.cumsum(1), reset=reset, order=order,
            past=None, grid=None, conditions=conditions, memory=memory, aligned=False, memo={},
            readable=take(self.readable),
        )  # fmt: skip


def resets(ids: Tensor, valid: Tensor | None = None) -> Tensor:
    """(B,T) true at the first token of every segment but the row's first one.

    A segment is a maximal run of equal `ids` (B,T) among the tokens that count: an id that comes back is a new
    segment, and the ids of the tokens that `valid` leaves out mean nothing.
    """
    if valid is None:
        first = torch.zeros_like(ids, dtype=torch.bool)
        first[:, 1:] = ids[:, 1:] != ids[:, :-1]
        return first
    index = torch.arange(ids.shape[1], device=ids.device)
    last = torch.where(valid, index, -1).cummax(1).values
    before = torch.cat([torch.full_like(last[:, :1], -1), last[:, :-1]], dim=1)  # the last token that counted
    return valid & (before >= 0) & (ids != ids.gather(1, before.clamp(min=0)))


def gather(x: Tensor, index: Tensor) -> Tensor:
    """x (B,T,...) at the flat positions index (R,K) -> (R,K,...); what an empty slot (-1) holds means nothing."""
    return x.flatten(0, 1)[index.clamp(min=0)]


def scatter(y: Tensor, index: Tensor, into: Tensor) -> Tensor:
    """`into` (B,T,...) with y (R,K,...) at the flat positions `index`; empty slots are not written."""
    rows, length = into.shape[:2]
    flat = torch.cat([into.flatten(0, 1), into.new_empty(1, *into.shape[2:])])  # a place for empty slots
    index = index.masked_fill(index < 0, rows * length)
    return flat.index_put((index,), y)[:-1].unflatten(0, (rows, length))


def widest_dtype(device: torch.device) -> torch.dtype:
    """The widest float a device has: tables of angles are made in it."""
    return torch.float32 if device.type == "mps" else torch.float64


def upcast(x: Tensor) -> Tensor:
    """x in at least single precision: what decays and sums are computed in."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
