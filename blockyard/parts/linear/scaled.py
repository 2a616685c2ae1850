"""A full matrix whose outputs count by fixed factors, each run of them by its own.

    y_r = f_r (W_r x + b_r)        r: a run of outputs, such as the queries, keys and values of a fused projection

The factors say how large a projection is from the first step on, and how fast it learns: rates for one width then serve
another.

Shapes   x (..., reads)   y (..., writes)   W (writes, reads)   b (writes)
Source   arXiv 2507.22448    Family  linear
Differs  nothing known
"""

from typing import Annotated

import torch
from torch import Tensor, nn

from blockyard.core import Call, Cat, Expr, Linear, Site, Spec, UsageError, constant, widest_dtype
from blockyard.core.part import Merged
from blockyard.core.settings import Number, StoreSpec


class Scaled(Linear):
    claims = dict(per_token=True, row_independent=True)
    points = ("linear_in", "linear_out")
    variants = (dict(factors=(0.5,)),)

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        factors: Annotated[tuple[Number, ...], "what outputs count: one for all, or one for each run"] = (1.0,),
        bias: Annotated[bool, "a learned number added to each output; none: where the part asks for it"] | None = None,
        store: StoreSpec = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.store, self.weight = site.matrix(
            "weight", store, writes, reads, gain * reads.size**-0.5, decay=True, reads=reads, writes=writes
        )
        self.bias = site.param("bias", (writes,), constant(0.0)) if (biased if bias is None else bias) else None
        self.runs, self.factors = _runs(writes) if len(factors) > 1 else [writes.size], factors
        if len(factors) != len(self.runs):
            raise UsageError(f"{site.path}: {len(factors)} factors for {len(self.runs)} runs of {writes}")

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        x = self.point("linear_in", x, call)
        y = self.store.linear(x, self.weight, self.bias)
        if len(self.factors) == 1:
            return self.point("linear_out", y * self.factors[0], call)
        return self.point("linear_out", y * self._row(y), call)

    def _row(self, like: Tensor) -> Tensor:
        """(writes,) the factor of each output."""
        return torch.cat([like.new_full((size,), factor) for size, factor in zip(self.runs, self.factors)])

    def plus(self, up: Tensor, down: Tensor) -> Merged:
        if not isinstance(self.weight, nn.Parameter):
            raise UsageError(f"{self.path} keeps its matrix as store:{self.store.spec.name}: merge first, then pack")
        if not all(self.factors):
            raise UsageError(f"{self.path}: what is added would be lost, a factor of it is zero")
        wide = widest_dtype(self.weight.device)
        row = torch.tensor(self.factors, dtype=wide).repeat_interleave(torch.tensor(self.runs))
        made = self.weight.to(wide) + (up.to(wide) @ down.to(wide)) / row.to(self.weight.device)[:, None]
        return {}, {"weight": made.to(self.weight.dtype)}


def _runs(writes: Expr) -> list[int]:
    """The sizes of what lies side by side, also inside of what does."""
    if not isinstance(writes, Cat):
        return [writes.size]
    return [size for part in writes.parts for size in _runs(part)]
