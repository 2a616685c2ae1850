"""Add a learned vector for each position to the stem's output.

    x_t <- x_t + P[p_t]

Shapes   x (B,T,D)   P (length, D)
Source   arXiv 1706.03762    Family  position
Differs  nothing known
"""

from typing import Annotated

from torch import Tensor
from torch.compiler import is_compiling

from blockyard.core import Call, Position, Site, UsageError, normal
from blockyard.core.settings import Count


class Learned(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(
        self,
        site: Site,
        *,
        length: Annotated[Count, "how many positions are learned; none: the length that the model expects"]
        | None = None,
    ) -> None:
        super().__init__()
        self.length = site.axis("length", length or site.length)
        self.length.ordered = True
        self.table = site.param("table", (self.length, site.stream), normal(0.02))

    def at_input(self, x: Tensor, call: Call) -> Tensor:
        longest = x.shape[1] if call.past is None else call.past.positions.shape[1]
        if longest > self.length.size and not call.aligned and not is_compiling():
            longest = int(call.positions.max()) + 1  # slots may be empty
        if longest > self.length.size and (call.aligned or not is_compiling()):
            raise UsageError(f"{self.path}: {longest} tokens, but positions are learned up to {self.length.size}")
        return x + self.table[call.positions.clamp(max=self.length.size - 1)].to(x.dtype)
