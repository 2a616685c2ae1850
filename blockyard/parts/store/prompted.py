"""A matrix with learned rows behind its last: virtual tokens, which a stem puts before the first token of every row.

    y = W x + b        e_i = W[i]  where i < V        e_(V+p) = P[p]

The matrix is kept as its base keeps it, and multiplied by alone: a head that is tied to it scores no virtual token.

Shapes   x (..., columns)   y (..., V)   i (...)   e (..., columns)   W (V, columns)   P (tokens, columns)
Source   arXiv 2104.08691    Family  adapters
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import embedding

from blockyard.core import Expr, Site, Spec, Store, normal
from blockyard.core.settings import Count, StoreSpec


class Prompted(Store):
    claims = dict(causal=True, streams=True, row_independent=True)
    attached_to = "base"
    variants = (dict(tokens=3),)
    unrecorded = "what stands before the first token is no instruction yet"

    def __init__(
        self, site: Site, *, tokens: Annotated[Count, "virtual tokens"] = 20,
        base: Annotated[StoreSpec, "how the matrix is kept"] = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.base: Any = site.build("base", base)
        self.site, self.virtual = site, tokens

    def make(self, site: Site, name: str, rows: Expr, columns: Expr, std: float, **use: Any) -> Tensor:
        self.rows, self.base.name = rows.size, name
        self.prompt = self.site.param("prompt", (self.site.axis("prompt", self.virtual), columns), normal(std))
        return self.base.make(site, name, rows, columns, std, **use)

    def linear(self, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.base.linear(x, matrix, bias)

    def embedding(self, ids: Tensor, matrix: Tensor) -> Tensor:
        found, behind = self.base.embedding(ids.clamp(max=self.rows - 1), matrix), ids - self.rows
        prompt = embedding(behind.clamp(min=0, max=self.virtual - 1), self.prompt)
        return torch.where((behind >= 0)[..., None], prompt.to(found.dtype), found)

    def full(self, matrix: Tensor) -> Tensor:
        return self.base.full(matrix)
