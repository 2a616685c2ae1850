"""A matrix in full, whose numbers are used at a scale.

    y = s W x + b        e_i = s W[i]        W ~ N(0, std^2 / s^2) at first

A large scale makes every step of training larger.

Shapes   x (..., columns)   y (..., rows)   i (...)   e (..., columns)   W (rows, columns)   b (rows)
Source   arXiv 2011.14522    Family  store
Differs  the scale is one setting, not a rule by width
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import embedding

from blockyard.core import Expr, Site, Store, normal
from blockyard.core.settings import Positive
from blockyard.kernels import linear


class MyStore(Store):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, *, scale: Annotated[Positive, "what the kept numbers are multiplied by"] = 2.0
    ) -> None:
        super().__init__()
        self.scale = scale

    def make(self, site: Site, name: str, rows: Expr, columns: Expr, std: float, **use: Any) -> Tensor:
        return site.param(name, (rows, columns), normal(std / self.scale), **use)

    def linear(self, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        return linear(x * self.scale, matrix, bias)

    def embedding(self, ids: Tensor, matrix: Tensor) -> Tensor:
        return embedding(ids, matrix) * self.scale

    def full(self, matrix: Tensor) -> Tensor:
        return matrix * self.scale
