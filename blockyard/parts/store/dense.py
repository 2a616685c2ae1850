"""A matrix in full: it learns.

    y = W x + b        e_i = W[i]        W ~ N(0, std^2) at first

Shapes   x (..., columns)   y (..., rows)   i (...)   e (..., columns)   W (rows, columns)   b (rows)
Source   none    Family  store
Differs  nothing known
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import embedding

from blockyard.core import Expr, Site, Store, normal
from blockyard.kernels import linear


class Dense(Store):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def make(self, site: Site, name: str, rows: Expr, columns: Expr, std: float, **use: Any) -> Tensor:
        return site.param(name, (rows, columns), normal(std), **use)

    def linear(self, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        return linear(x, matrix, bias)

    def embedding(self, ids: Tensor, matrix: Tensor) -> Tensor:
        return embedding(ids, matrix)

    def full(self, matrix: Tensor) -> Tensor:
        return matrix
