"""A matrix in few bits: what it multiplies is read from the codes.

    y = W x + b        e_i = W[i]        W = scale * code, a scale for every `group` numbers of a row

It does not learn: a model is trained first and packed after, by `blockyard.quantise`.

Shapes   x (..., columns)   y (..., rows)   i (...)   e (..., columns)   W (tiles, bytes)   b (rows)
Source   arXiv 2206.01861    Family  store
Differs  scales in half precision, fitted to the codes; what is multiplied keeps its precision, or 16 bits a block
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Expr, Site, Store
from blockyard.core.settings import Bits, Group
from blockyard.kernels import packed_linear
from blockyard.kernels.weights import check, dense, pack, tiles_shape


class Packed(Store):
    claims = dict(per_token=True, row_independent=True)
    called = "packed"

    def __init__(self, site: Site, *, bits: Bits = 8, group: Group = 32) -> None:
        super().__init__()
        check(bits, group)
        self.bits, self.group = bits, group

    def make(self, site: Site, name: str, rows: Expr, columns: Expr, std: float, **use: Any) -> Tensor:
        self.rows, self.columns = rows, columns
        shape = tiles_shape(rows.size, columns.size, self.bits, self.group)

        def draw(rng: torch.Generator) -> Tensor:
            empty = torch.empty(shape, dtype=torch.uint8)
            if empty.device.type == "meta":
                return empty
            return pack(std * torch.randn(rows.size, columns.size, generator=rng), self.bits, self.group)

        return site.buffer(name, draw)

    def linear(self, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        y = packed_linear(x, matrix, self.bits, self.group, self.rows.size)
        return y if bias is None else y + bias.to(y.dtype)

    def embedding(self, ids: Tensor, matrix: Tensor) -> Tensor:
        rows = dense(matrix, self.bits, self.group, self.columns.size, ids.flatten())
        return rows.view(*ids.shape, self.columns.size)

    def full(self, matrix: Tensor) -> Tensor:
        return dense(matrix, self.bits, self.group, self.columns.size)[: self.rows.size]
