"""Products of numbers in 8 bits, exact in whole numbers, beside those of a few columns that keep their precision."""

from math import prod
from typing import Any

import torch
from torch import Tensor

from blockyard.core import Expr, Linear, Site, Spec, UsageError, upcast
from blockyard.core.part import Merged
from blockyard.kernels import linear

MOST = 133_000  # columns whose products of 8 bits fit into a sum of 32
EXACT = 2**24 // 127**2  # columns whose products add up without loss in single precision


def codes_of(x: Tensor, whole: bool = False, counted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Codes from -127 to 127 of x (N,h), as numbers, and the scales (N,1) of its rows; `whole`: one for all, (1,1), in
    which only the rows `counted` (N) have a say."""
    size = x.abs().amax(-1, keepdim=True)
    if whole and len(x):
        size = (size if counted is None else size.masked_fill(~counted[:, None], 0)).amax(0, keepdim=True)
    scale = size / 127
    return (x / torch.where(scale == 0, 1, scale)).round().clamp(-127, 127), scale


def int_product(a: Tensor, b: Tensor) -> Tensor:
    """(T,O) of codes a (T,h), b (O,h): a sum of 32 bits of what is exact in single precision."""
    with torch.autocast("cpu" if a.is_meta else a.device.type, enabled=False):
        pairs = zip(a.float().split(EXACT, -1), b.float().split(EXACT, -1))
        return torch.stack([linear(x, w, None).to(torch.int32) for x, w in pairs]).sum(0, dtype=torch.int32)


class InInt8(Linear):
    """The base of projections in 8 bits: `parted` says which columns keep their precision."""

    points = ("linear_in", "linear_out")
    unrecorded = "a product of numbers in 8 bits is no instruction yet"

    def own(self, site: Site, reads: Expr, writes: Expr, bias: bool, gain: float, store: Spec) -> None:
        """What every one of them owns: a matrix and perhaps a bias."""
        if reads.size > MOST:
            raise UsageError(f"{site.path}: products of {reads.size:,} columns may not fit into 32 bits; {MOST:,} do")
        self.store, self.weight = site.matrix(
            "weight", store, writes, reads, gain * reads.size**-0.5, decay=True, reads=reads, writes=writes
        )
        self.bias = site.param("bias", (writes,), lambda value, _: value.zero_()) if bias else None

    def times_matrix(self, x: Tensor, apart: Tensor, whole: bool = False, counted: Tensor | None = None) -> Tensor:
        """x (..., reads) by the matrix: columns `apart` (reads) bool as they are, the others in 8 bits.

        whole   one scale for all tokens, of those that are `counted` (...), None: all; and one for all of the matrix"""
        rows = upcast(x.reshape(prod(x.shape[:-1]), x.shape[-1]))
        full = self.store.full(self.weight).to(rows.dtype)
        codes, scale = codes_of(rows.masked_fill(apart, 0), whole, None if counted is None else counted.flatten())
        kept = None if whole else self.store.int8(self.weight)
        if kept is None:
            kept = codes_of(full.masked_fill(apart, 0), whole)
        weight_codes, weight_scale = kept[0].masked_fill(apart, 0), kept[1].to(rows.dtype)
        y = int_product(codes, weight_codes).to(rows.dtype) * scale * weight_scale.T
        if not x.is_meta:  # an outline has no columns apart
            at = apart.nonzero().flatten()
            bias = None if self.bias is None else self.bias.to(rows.dtype)
            y = y + linear(rows[:, at], full[:, at], bias)
        return y.to(x.dtype).view(*x.shape[:-1], y.shape[-1])

    def matrix(self) -> Tensor:
        return self.store.full(self.weight)

    def become(self, matrix: Tensor, times: Any = None) -> Merged:
        raise UsageError(f"{self.path} multiplies in 8 bits and does not learn: merge first, then round")
