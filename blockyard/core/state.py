"""What a model carries from one piece of its input to the next: caches, matrix memories, convolution tails.

A `State` is immutable; the leaves of a step stand at the address (step, loop). A part gets its own (`{}` at the first
piece) and returns new ones. Rows are segments. Three kinds of leaf:

    Cache    keys and values, one slot a token, aligned with the state's `positions` (-1: an empty slot); numbers as
             they are, or `Coded` in 8 bits where the state says so
    Tensor   recurrent: the whole past in one value, never written in place, so a mark is a reference
    Constant what the first piece left and no later one changes: keys and values of another stream

`rewind` cuts caches at any position; recurrent leaves go back to the nearest mark, and the caller feeds the rest.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

Leaves = dict[str, Any]


class Coded(NamedTuple):
    """Numbers (...,D) as codes of 8 bits with a scale (...,1), the largest size of a line is 127: off by 0.4% of it."""

    codes: Tensor
    scales: Tensor

    @staticmethod
    def of(x: Tensor) -> "Coded":
        """The codes of numbers (...,D)."""
        numbers = x.float()
        scales = numbers.abs().amax(-1, keepdim=True) / 127
        return Coded((numbers / scales.masked_fill(scales == 0, 1)).round().to(torch.int8), scales)

    def numbers(self, dtype: torch.dtype) -> Tensor:
        """The numbers again, in a dtype."""
        return (self.codes * self.scales).to(dtype)


class Cache(NamedTuple):
    """One slot a token: k, v (B,S,H,D)."""

    k: Tensor | Coded
    v: Tensor | Coded

    def each(self, fn: Callable[[Tensor], Tensor]) -> "Cache":
        """`fn` of everything that has slots."""
        return Cache(tree_map(fn, self.k), tree_map(fn, self.v))

    def slots(self, start: int, end: int) -> "Cache":
        """The slots from `start` up to `end`."""
        return self.each(lambda x: x[:, start:end])

    def numbers(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values."""
        k, v = (x.numbers(dtype) if isinstance(x, Coded) else x for x in self)
        return k, v


class Constant(NamedTuple):
    """Tensors (B,S,...) that no token changes, by name, and which of their S places count (B,S)."""

    values: dict[str, Tensor]
    valid: Tensor

    def empty(self, rows: int) -> "Constant":
        """The same of so many rows, without any places."""
        values = {name: x.new_zeros(rows, 0, *x.shape[2:]) for name, x in self.values.items()}
        return Constant(values, self.valid.new_zeros(rows, 0))

    def padded(self, places: int) -> "Constant":
        """The same with so many places, of which the new ones do not count."""
        room = places - self.valid.shape[1]
        values = {name: pad(x, (0, 0) * (x.dim() - 2) + (0, room)) for name, x in self.values.items()}
        return Constant(values, pad(self.valid, (0, room)))


def tree_cat(trees: Sequence[Any], dim: int) -> Any:
    """Trees of one shape as one, tensor by tensor."""
    return tree_map(lambda *each: torch.cat(each, dim), *trees)


def sub(state: Leaves | None, name: str) -> Leaves | None:
    """The leaves of a slot inside a part: None where nothing is kept, {} at the first piece."""
    return None if state is None else state.get(name, {})


def leaf(state: Leaves | None, name: str) -> Tensor | None:
    """A leaf of a part as its last piece left it: None where nothing is kept, and at the first piece."""
    return None if state is None else state.get(name)


def keep(state: Leaves | None, **leaves: Any) -> Leaves | None:
    """What a part returns as its new leaves: None where nothing is kept."""
    return None if state is None else leaves


def tree_map(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """`fn` over every tensor of nested dicts, tuples and lists, together with the tensors that stand there in `others`.

    Trees of another shape are a `ValueError`.
    """
    kind = next((kind for kind in (Tensor, dict, tuple, list) if isinstance(tree, kind)), None)
    if kind is None:
        return tree
    if not all(isinstance(other, kind) for other in others):
        raise ValueError("these trees have different shapes")
    if isinstance(tree, Tensor):
        return fn(tree, *others)
    if isinstance(tree, dict):
        if any(other.keys() != tree.keys() for other in others):
            raise ValueError("these trees have different keys")
        return {key: tree_map(fn, value, *(other[key] for other in others)) for key, value in tree.items()}
    values: list[Any] = [tree_map(fn, *each) for each in zip(tree, *others, strict=True)]
    return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values) if kind is tuple else values


def tensors(tree: Any) -> list[Tensor]:
    """Every tensor of nested dicts and tuples."""
    found: list[Tensor] = []
    tree_map(found.append, tree)
    return found


def _split(tree: Any, recurrent: bool) -> Any:
    """The recurrent leaves of a tree, or everything else."""
    if isinstance(tree, dict):
        kept = {key: _split(value, recurrent) for key, value in tree.items()}
        return {key: value for key, value in kept.items() if value is not None}
    return tree if isinstance(tree, Tensor) == recurrent else None


def _merge(first: Any, second: Any) -> Any:
    if isinstance(first, dict) and isinstance(second, dict):
        return {
            key: _merge(first.get(key), second.get(key)) for key in [*first, *(k for k in second if k not in first)]
        }
    return second if first is None else first


class Mark(NamedTuple):
    """The recurrent leaves as they were at some length (B,)."""

    length: Tensor
    recurrent: dict[Hashable, Leaves]


@dataclass(frozen=True)
class State:
    """What a model carries from one piece to the next. Immutable: an old one is a branch to come back to.

    positions, order (B,S) are of cached slots, length (B,) counts valid tokens; `lead` virtual tokens stand before
    those of each row, in slots of their own; aligned, int8_cache, leaves and marks say how what is carried is kept.
    """

    positions: Tensor  # (B,S) of the cached slots
    length: Tensor  # (B,) valid tokens seen
    aligned: bool = True  # every row has the same length and no slot is empty
    order: Tensor | None = None  # (B,S), where the input gave one
    int8_cache: bool = False  # keys and values are kept in 8 bits, but for those of a window
    leaves: dict[Hashable, Leaves] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    lead: int = 0  # virtual tokens before the first one, which have positions and are counted by no length

    @staticmethod
    def empty(rows: int, device: Any = None, int8_cache: bool = False) -> "State":
        """The state before the first piece of so many rows."""
        none = torch.zeros(rows, 0, dtype=torch.long, device=device)
        return State(none, torch.zeros(rows, dtype=torch.long, device=device), int8_cache=int8_cache)

    def get(self, address: Hashable) -> Leaves:
        """The leaves at an address: (step, loop), or a name; {} where there are none."""
        return self.leaves.get(address, {})

    def put(self, address: Hashable, leaves: Leaves) -> "State":
        """The state with these leaves at an address."""
        return replace(self, leaves={**self.leaves, address: leaves})

    def _all(self, fn: Callable[[Tensor], Tensor]) -> "State":
        marks = tuple(Mark(fn(mark.length), tree_map(fn, mark.recurrent)) for mark in self.marks)
        order = None if self.order is None else fn(self.order)
        return replace(
            self, positions=fn(self.positions), length=fn(self.length), order=order,
            leaves=tree_map(fn, self.leaves), marks=marks,
        )  # fmt: skip

    def select(self, rows: Tensor) -> "State":
        """The state of these rows, in this order; a row may be taken twice (beams)."""
        return self._all(lambda x: x[rows])

    def fork(self) -> "State":
        """A second future from here. Nothing is written in place, so this is the state itself."""
        return self

    def detach(self) -> "State":
        """The same numbers without their gradient history."""
        return self._all(lambda x: x.detach())

    @property
    def nbytes(self) -> int:
        """Bytes of all leaves (marks apart, which share them until the next piece)."""
        return sum(x.numel() * x.element_size() for x in tensors(self.leaves))

    def mark(self) -> "State":
        """A point that `rewind` can reach with the recurrent leaves, at the cost of keeping them."""
        return replace(self, marks=(*self.marks, Mark(self.length, _split(self.leaves, recurrent=True))))

    def rewind(self, length: int | Tensor) -> "State":
        """The state at `length` tokens, row by row, or at the last mark before it where a leaf is recurrent."""
        goal = torch.as_tensor(length, device=self.length.device).expand_as(self.length).minimum(self.length)
        recurrent = _split(self.leaves, recurrent=True)
        if self.lead and tensors(recurrent) and bool((goal < self._earliest()).any()):
            return State.empty(len(goal), goal.device, self.int8_cache)  # what stands first is read again with the rest
        reached, leaves = goal, recurrent
        if tensors(recurrent):
            known = [Mark(torch.zeros_like(goal), tree_map(torch.zeros_like, recurrent)), *self.marks]
            known.append(Mark(self.length, recurrent))
            reached, leaves = known[0]
            for mark in known[1:]:
                better = (mark.length <= goal) & (mark.length >= reached)
                reached = torch.where(better, mark.length, reached)
                leaves = _choose(better, mark.recurrent, leaves)
        empty = self.positions >= reached[:, None] + self.lead
        marks = tuple(mark for mark in self.marks if bool((mark.length <= reached).all()))
        back = replace(self, length=reached, leaves=_merge(_split(self.leaves, recurrent=False), leaves), marks=marks)
        if self.aligned and bool((reached == reached[:1]).all()):
            return back._cut(int(reached[0]) + self.lead if len(reached) else 0)
        return replace(back, positions=self.positions.masked_fill(empty, -1), aligned=False)

    def _earliest(self) -> Tensor:
        """(B,) the first length above zero at which recurrent leaves are known."""
        known = [*(mark.length for mark in self.marks), self.length]
        return torch.stack([torch.where(each > 0, each, self.length) for each in known]).amin(0)

    def _cut(self, slots: int) -> "State":
        def cut(tree: Any) -> Any:
            if isinstance(tree, Cache):
                return tree.slots(0, slots)
            return {key: cut(value) for key, value in tree.items()} if isinstance(tree, dict) else tree

        order = None if self.order is None else self.order[:, :slots]
        return replace(self, positions=self.positions[:, :slots], order=order, leaves=cut(self.leaves))


def _choose(rows: Tensor, new: Any, old: Any) -> Any:
    """Row by row `new` or `old`; leaves that `new` did not have yet start from zero."""
    if isinstance(old, dict):
        return {key: _choose(rows, new.get(key, {}) if isinstance(new, dict) else new, old[key]) for key in old}
    if not isinstance(old, Tensor):
        return old
    fresh = new if isinstance(new, Tensor) else torch.zeros_like(old)
    return torch.where(rows.reshape(-1, *[1] * (old.dim() - 1)), fresh, old)
