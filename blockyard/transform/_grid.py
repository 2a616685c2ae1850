"""Numbers on a grid: codes of few bits, with a scale (and a zero point) for every group of numbers of a row.

    symmetric    s = 2 max|w| / (2^b - 1)     q = clip(round(w / s), -2^(b-1), 2^(b-1) - 1)      w^ = s q
    otherwise    s = (max - min) / (2^b - 1)  z = round(-min / s)
                 q = clip(round(w / s) + z, 0, 2^b - 1)                                          w^ = s (q - z)

min and max include 0; of 8 symmetric bits the lowest code is -127. Scales are numbers of half precision. A cut grid
leaves its ends out: of a hundred shares of the range the one of which sum |w - w^|^2.4 is least.

Shapes   w (O,I)   q (O,I)   s, z (O,G): a column a group, the last of which may be shorter
Source   arXiv 1712.05877, 2210.17323, 2306.00317
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from blockyard.core.spec import Spec, store
from blockyard.kernels.weights import pack_codes
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored

PACKED = (4, 8)  # bits, and columns of a block, that there is a product for
UNIT = 32
TRIES, POWER = 100, 2.4  # shares of a range that are tried, and the power of what is lost


@dataclass(frozen=True)
class Grid:
    """How many bits a number has, how many numbers of a row share a grid (None: all), whether 0 is its middle, and
    whether all rows share one, too."""

    bits: int
    group: int | None
    symmetric: bool
    whole: bool = False

    def __str__(self) -> str:
        share = "a matrix" if self.whole else "a row" if self.group is None else f"groups of {self.group}"
        return f"{self.bits} bits, {share}{'' if self.symmetric else ', with zero points'}"

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        if not self.symmetric:
            return 0, 2**self.bits - 1
        return max(-(2 ** (self.bits - 1)), -127), 2 ** (self.bits - 1) - 1

    def width(self, columns: int) -> int:
        """Columns of a whole group."""
        return columns if self.group is None or self.whole else min(self.group, columns)

    def fit(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point (O,1) of one group (O,g)."""
        low, high = weight.amin(1, keepdim=True).clamp(max=0), weight.amax(1, keepdim=True).clamp(min=0)
        if self.whole:
            low, high = low.amin(0).expand_as(low), high.amax(0).expand_as(high)
        steps = 2**self.bits - 1
        wide = 2 * torch.maximum(-low, high) if self.symmetric else high - low
        scale = (wide / steps).clamp(max=65504).half().to(weight.dtype)
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        return scale, torch.zeros_like(scale) if self.symmetric else (-low / scale).round().clamp(0, steps)

    def round(self, weight: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """The codes of numbers whose grid is known, of the type of the numbers."""
        return ((weight / scale).round() + zero).clamp(*self.ends)

    def search(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point (O,1) of one group (O,g), its ends cut off where that loses less."""
        best, least = self.fit(weight), None
        for attempt in range(TRIES):
            scale, zero = self.fit(weight * ((TRIES - attempt) / TRIES))
            gap = (weight - scale * (self.round(weight, scale, zero) - zero)).abs() ** POWER
            lost = gap.sum(1, keepdim=True)
            lost = lost.sum(0).expand_as(lost) if self.whole else lost
            better = torch.ones_like(lost, dtype=torch.bool) if least is None else lost < least
            least = lost if least is None else torch.where(better, lost, least)
            best = torch.where(better, scale, best[0]), torch.where(better, zero, best[1])
        return best

    def nearest(self, weight: Tensor, cut: bool = False) -> "Coded":
        """Every number of W (O,I) at the nearest place of its grid, which reaches to the ends, or is `cut`."""
        pieces = weight.split(self.width(weight.shape[1]), 1)
        fitted = [self.search(piece) if cut else self.fit(piece) for piece in pieces]
        codes = torch.cat([self.round(piece, *grid) for piece, grid in zip(pieces, fitted)], 1)
        scales, zeros = (torch.cat(each, 1) for each in zip(*fitted))
        return Coded(codes, scales, zeros, self)

    def bytes(self, rows: int, columns: int) -> int:
        """Bytes of a matrix that is kept as codes, scales and zero points, whatever keeps it here."""
        groups = 1 if self.whole else rows * -(-columns // self.width(columns))
        return -(-(rows * columns * self.bits + groups * (16 + (0 if self.symmetric else self.bits))) // 8)


def grid_of(bits: int, group: int | str | None, symmetric: bool) -> Grid:
    """The grid of settings: `group` may be "matrix", of which all numbers share one."""
    return Grid(bits, None, symmetric, True) if isinstance(group, str) else Grid(bits, group, symmetric)


@dataclass(frozen=True, eq=False)
class Coded:
    """A matrix on a grid: codes (O,I), scales and zero points (O,G)."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    grid: Grid

    @property
    def weight(self) -> Tensor:
        """The numbers that the codes stand for."""
        return self.scales[:, self.at] * (self.codes - self.zeros[:, self.at])

    @property
    def at(self) -> Tensor:
        """(I) the group of each column."""
        columns = self.codes.shape[1]
        return torch.arange(columns, device=self.codes.device) // self.grid.width(columns)

    def block(self) -> int | None:
        """Columns of a block in which a packed store keeps it without loss; None where no such store does."""
        width = self.grid.width(self.codes.shape[1])
        whole = self.scales.shape[1] == 1
        fits = [block for block in (2 * UNIT, UNIT) if whole or width % block == 0]
        return fits[0] if fits and self.grid.symmetric and self.grid.bits in PACKED else None

    def packed(self, block: int) -> Tensor:
        """The codes as a packed store keeps them."""
        columns = self.codes.shape[1]
        first = torch.arange(0, columns, block, device=self.codes.device)
        scales = self.scales[:, first // self.grid.width(columns)]
        return pack_codes(self.codes, scales, self.grid.bits, block)


def rebuilt(model: Model, coded: Mapping[str, Coded]) -> Model:
    """The model with these projections, by path, on their grids: packed where a store can, else in full numbers."""
    edits, tensors = list(model.spec.get("edits", ())), stored(model)
    for path, found in coded.items():
        name, block = f"{path}.weight", found.block()
        if block is None:
            tensors[name] = found.weight.to(tensors[name].dtype)
        else:
            edits.append(Spec.of("edit", path, {"store": store("packed", bits=found.grid.bits, group=block)}))
            tensors[name] = found.packed(block)
    with torch.device("meta"):
        made = build(model.spec.but(edits=tuple(edits)))
    return fill(made, tensors, next(model.parameters()).device)


def told(coded: Mapping[str, Coded]) -> dict[str, int]:
    """Bytes of these matrices as codes with their scales and zero points, and how many of them are packed so."""
    return {
        "grid_bytes": sum(each.grid.bytes(*each.codes.shape) for each in coded.values()),
        "packed": sum(each.block() is not None for each in coded.values()),
    }
