"""Boxes of a diagram: what becomes of wires, and on which of their axes it works.

    linear      the product of what it reads, summed over every index that its output does not have: one einsum
    anything else is a function of tensors whose dimensions are groups of indices

An axis that stands in the output and on which a function does not work passes by: index before equals index after.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from string import ascii_letters
from typing import Any

import torch
from torch import Tensor

from blockyard.core import UsageError
from blockyard.diagram.affine import Affine, Sizes, read

Groups = tuple[tuple[str, ...], ...]  # the dimensions of a tensor, each the indices that it unfolds into


@dataclass(frozen=True)
class Read:
    """A wire as a box reads it: an index for every axis of the wire, and how those lie in the tensor it is given.

    full   whether the tensor has its whole size along what it does not change, and not the size 1
    """

    wire: str
    index: tuple[Affine, ...]
    groups: Groups
    full: bool = False

    @property
    def over(self) -> tuple[str, ...]:
        """The indices, in order."""
        return tuple(name for group in self.groups for name in group)

    @property
    def used(self) -> tuple[str, ...]:
        """The indices that it reads along; along others it does not change."""
        return tuple(dict.fromkeys(name for affine in self.index for name, _ in affine.terms))

    def value(self, x: Tensor, sizes: Sizes) -> Tensor:
        """The tensor with a dimension a group."""
        spread, over = read(x, self.index, self.over, sizes), self.over
        have = dict(zip(over, spread.shape))
        for group in self.groups:  # a group that changes along some of its axes has all of them
            if self.full or any(have[name] > 1 for name in group):
                have |= {name: sizes[name] for name in group}
        return spread.expand([have[n] for n in over]).reshape([prod(have[n] for n in group) for group in self.groups])

    def renamed(self, axes: dict[str, str], wires: dict[str, str]) -> "Read":
        """The same with other names."""
        groups = tuple(tuple(axes.get(name, name) for name in group) for group in self.groups)
        index = tuple(affine.renamed(axes) for affine in self.index)
        return Read(wires.get(self.wire, self.wire), index, groups, self.full)


@dataclass(frozen=True)
class Box:
    """One function between wires.

    name    what it is: `linear`, or the function's
    reads   what it is given                gives    the wires that come out, by the groups of their dimensions
    run     the function; none: it is linear
    ops     multiply-adds of what is not linear, where they are known
    """

    name: str
    reads: tuple[Read, ...]
    gives: tuple[tuple[str, Groups], ...]
    run: Callable[..., Any] | None = None
    ops: int = 0

    @property
    def out(self) -> tuple[str, ...]:
        """The axes of the first wire that comes out."""
        return tuple(name for group in self.gives[0][1] for name in group)

    def __call__(self, given: Sequence[Tensor], sizes: Sizes) -> list[Tensor]:
        """What comes out, a dimension an axis."""
        if self.run is None:
            return [self._einsum(given, sizes)]
        made = self.run(*[one.value(x, sizes) for one, x in zip(self.reads, given)])
        made = made if isinstance(made, tuple | list) else [made]
        return [
            x.expand([prod(sizes[n] for n in g) for g in groups]).reshape([sizes[n] for g in groups for n in g])
            for x, (_, groups) in zip(made, self.gives)
        ]

    def _einsum(self, given: Sequence[Tensor], sizes: Sizes) -> Tensor:
        letters: dict[str, str] = {}
        operands, words = [], []
        for one, x in zip(self.reads, given):
            operands.append(read(x, one.index, one.used, sizes))
            words.append("".join(letters.setdefault(name, ascii_letters[len(letters)]) for name in one.used))
        known = [name for name in self.out if name in letters]
        y = torch.einsum(f"{','.join(words)}->{''.join(letters[name] for name in known)}", *operands)
        summed = {name for one in self.reads for name in one.over} - {*self.out, *letters}
        if summed:  # nothing changes along these, so each of their places adds the same
            y = prod(sizes[name] for name in summed) * y
        y = y[tuple(slice(None) if name in known else None for name in self.out)]
        return y.expand([sizes[name] for name in self.out])

    def multiply_adds(self, sizes: Sizes) -> int:
        """Products of all sizes that meet in a contraction; nothing for what moves numbers or takes them singly."""
        if self.run is not None:
            return self.ops
        met = {name for one in self.reads for name in one.used} | {*self.out}
        return prod(sizes[name] for name in met) if len(self.reads) > 1 else 0

    def lifted(self, axis: str, size: int, which: frozenset[str]) -> "Box":
        """The same along one more axis, which the wires of `which` have."""
        if axis in {name for one in self.reads for name in one.over} | {*self.out}:
            raise UsageError(f"{self.name} has an axis {axis} of its own; lift it over another name")
        wide = [one.wire in which for one in self.reads]
        if not any(wide):
            return self
        reads = tuple(
            replace(one, index=(Affine.of(axis), *one.index), groups=((axis,), *one.groups)) if lift else one
            for one, lift in zip(self.reads, wide)
        )
        gives = tuple((wire, ((axis,), *groups)) for wire, groups in self.gives)
        if self.run is None:
            return replace(self, reads=reads, gives=gives)
        run = torch.vmap(self.run, in_dims=tuple(0 if lift else None for lift in wide))
        return replace(self, reads=reads, gives=gives, run=run, ops=size * self.ops)

    def renamed(self, axes: dict[str, str], wires: dict[str, str]) -> "Box":
        """The same with other names."""
        gives = tuple(
            (wires.get(wire, wire), tuple(tuple(axes.get(name, name) for name in group) for group in groups))
            for wire, groups in self.gives
        )
        return replace(self, reads=tuple(one.renamed(axes, wires) for one in self.reads), gives=gives)
