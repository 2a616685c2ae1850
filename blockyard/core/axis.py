"""Axes: what a dimension of a parameter *is*, as an object that everything tied together shares.

An expression over axes describes one dimension of a tensor: `Prod(heads, head_dim)` is heads x head_dim channels,
`Cat(q, k, v)` three runs of channels side by side (a fused projection). The same expression splits an activation:

    layout = Cat(head, head, head)        q, k, v = layout.split(projection(x, call))       # (B,T,H,K) each

Identity is the object: two axes of the same name are different spaces. A size never changes: what narrows an axis
builds the model anew, so sizes and shapes are worked out once. `shape` is what `split` unfolds a dimension into.
"""

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor


class Axis:
    """A named space of some size; equality is identity. Parts that stand on it say what must stay so of it:

    multiple   its size is a multiple of this (rotary positions rotate pairs)
    ordered    the order of its channels means something (bytes, learned positions, decays by head)
    fixed      why its size cannot change by itself; empty where it can
    """

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size, self.shape = name, size, (size,)
        self.multiple, self.ordered, self.fixed = 1, False, ""

    def __repr__(self) -> str:
        return f"{self.name}={self.size}"

    def leaves(self) -> Iterator["Axis"]:
        """Every axis in here, from left to right."""
        yield self

    def find(self, axis: "Axis", index: Tensor) -> Tensor:
        """The channels of this expression that stay when only `index` of `axis` stays, in order."""
        return index if axis is self else torch.arange(self.size)


class Prod:
    """Every combination of its axes, the last one fastest: as many channels as their product."""

    def __init__(self, *parts: "Axis | Prod | Cat") -> None:
        self.parts, self.size = parts, prod(part.size for part in parts)
        self.shape: tuple[int, ...] = tuple(n for part in parts for n in part.shape)

    def __repr__(self) -> str:
        return "*".join(map(repr, self.parts))

    def leaves(self) -> Iterator[Axis]:
        """Every axis in here, from left to right."""
        for part in self.parts:
            yield from part.leaves()

    def find(self, axis: Axis, index: Tensor) -> Tensor:
        """The channels that stay when only `index` of `axis` stays, in order."""
        kept = torch.zeros(1, dtype=torch.long)
        for part in self.parts:
            kept = (kept[:, None] * part.size + part.find(axis, index)).flatten()
        return kept

    def split(self, x: Tensor) -> Tensor:
        """(..., size) seen as (..., *shape)."""
        return x.unflatten(-1, self.shape)


class Cat:
    """Its parts side by side: one dimension of as many channels as their sum, since each has a shape of its own."""

    def __init__(self, *parts: "Axis | Prod | Cat") -> None:
        self.parts, self.sizes = parts, [part.size for part in parts]
        self.size = sum(self.sizes)
        self.shape = (self.size,)
        self._unfolded = [None if isinstance(part, Axis) else part.shape for part in parts]

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.parts))

    def leaves(self) -> Iterator[Axis]:
        """Every axis in here, from left to right."""
        for part in self.parts:
            yield from part.leaves()

    def find(self, axis: Axis, index: Tensor) -> Tensor:
        """The channels that stay when only `index` of `axis` stays, in order."""
        kept, start = [], 0
        for part in self.parts:
            kept.append(part.find(axis, index) + start)
            start += part.size
        return torch.cat(kept)

    def split(self, x: Tensor) -> list[Tensor]:
        """(..., size) cut into one tensor per part, a product unfolded into its axes."""
        pieces = x.split(self.sizes, dim=-1)
        return [p if shape is None else p.unflatten(-1, shape) for p, shape in zip(pieces, self._unfolded)]


Expr = Axis | Prod | Cat
