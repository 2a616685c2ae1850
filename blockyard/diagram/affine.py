"""Where an index of an output reads its input: a sum of indices, each a number of times, and a shift.

x'[j, i] = x[i, j]           Affine.of("i"), Affine.of("j")               a transpose
d[i] = x[i, i]               Affine.of("i"), Affine.of("i")               a diagonal
y[t, k] = x[t + k - 1]       Affine((("t", 1), ("k", 1)), -1)             a window; outside of x there are zeros
h[a, k] = x[4 a + k]         Affine((("a", 4), ("k", 1)))                 a dimension seen as two
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Affine:
    """sum of times x index, plus a shift."""

    terms: tuple[tuple[str, int], ...] = ()
    shift: int = 0

    @classmethod
    def of(cls, *names: str) -> "Affine":
        """Plain indices, added."""
        return cls(tuple((name, 1) for name in names))

    def put(self, name: str, by: "Affine") -> "Affine":
        """This with another sum in the place of an index."""
        times = dict(self.terms)
        if name not in times:
            return self
        factor, shift = times.pop(name), self.shift
        for other, count in by.terms:
            times[other] = times.get(other, 0) + factor * count
        return Affine(tuple((n, c) for n, c in times.items() if c), shift + factor * by.shift)

    def renamed(self, names: Mapping[str, str]) -> "Affine":
        """The same sum of indices with other names."""
        return Affine(tuple((names.get(name, name), count) for name, count in self.terms), self.shift)

    @property
    def plain(self) -> str | None:
        """The one index that it is; none where it is anything else."""
        return self.terms[0][0] if len(self.terms) == 1 and self.terms[0][1] == 1 and not self.shift else None

    def __str__(self) -> str:
        words = [name if count == 1 else f"{count}{name}" for name, count in self.terms]
        said = "+".join(words).replace("+-", "-")
        return f"{said}{self.shift:+d}" if said and self.shift else said or str(self.shift)


def read(x: Tensor, index: Sequence[Affine], over: Sequence[str], sizes: Sizes) -> Tensor:
    """x as its indices read it, one dimension of the result for each of `over`; zeros where they fall outside of x.

    A name in `over` that no index mentions is a dimension along which x does not change: it has size 1.
    """
    plain = [affine.plain for affine in index]
    if None not in plain and len(set(plain)) == len(plain) and [*x.shape] == [sizes[name] for name in plain if name]:
        x = x.permute([plain.index(name) for name in over if name in plain])
        return x[tuple(slice(None) if name in plain else None for name in over)]
    return _gathered(x, index, over, sizes)


def _gathered(x: Tensor, index: Sequence[Affine], over: Sequence[str], sizes: Sizes) -> Tensor:
    places, inside = [], None
    for affine, size in zip(index, x.shape):
        place = torch.full([1] * len(over), affine.shift, device=x.device)
        for name, count in affine.terms:
            along = [-1 if name == other else 1 for other in over]
            place = place + count * torch.arange(sizes[name], device=x.device).view(along)
        legal = (place >= 0) & (place < size)
        inside = legal if inside is None else inside & legal
        places.append(place.clamp(0, max(0, size - 1)))
    if inside is None:
        return x.reshape([1] * len(over))
    found = x[tuple(places)]
    return found if bool(inside.all()) else torch.where(inside, found, torch.zeros((), dtype=x.dtype, device=x.device))
