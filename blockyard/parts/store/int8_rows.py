"""A matrix in 8 bits, with one scale for every row.

    W[i] = s_i q_i        q from -127 to 127, s_i = max |W_i| / 127

Projections in 8 bits multiply by the codes as they are; all others by what the codes stand for. It does not learn.

Shapes   W (rows, columns + 4) bytes: the codes, then the scale in single precision
Source   arXiv 2208.07339    Slug  llm-int8    Family  store
Differs  nothing known
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Expr, Site, Store
from blockyard.kernels import linear
from blockyard.kernels.weights import int8_rows, int8_rows_of


class Int8Rows(Store):
    claims = dict(per_token=True, row_independent=True)
    unrecorded = "codes with a scale a row are no instruction's operand yet"

    def __init__(self, site: Site) -> None:
        super().__init__()

    def make(self, site: Site, name: str, rows: Expr, columns: Expr, std: float, **use: Any) -> Tensor:
        def draw(rng: torch.Generator) -> Tensor:
            empty = torch.empty(rows.size, columns.size + 4, dtype=torch.int8)
            if empty.device.type == "meta":
                return empty
            return int8_rows(std * torch.randn(rows.size, columns.size, generator=rng))

        return site.buffer(name, draw)

    def linear(self, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        return linear(x, self.full(matrix).to(x.dtype), bias)

    def embedding(self, ids: Tensor, matrix: Tensor) -> Tensor:
        return self.full(matrix[ids.flatten()]).view(*ids.shape, -1)

    def full(self, matrix: Tensor) -> Tensor:
        codes, scale = self.int8(matrix)
        return codes * scale

    def int8(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        return int8_rows_of(matrix)
