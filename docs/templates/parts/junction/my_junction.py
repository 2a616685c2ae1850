"""Go on with another width.

    x' = W x

Shapes   x (B,T,D)   x' (B,T,D')   W (D',D)
Source   none    Family  junction
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Junction, Site
from blockyard.core.settings import Count


class MyJunction(Junction):
    """Later steps stand on `out`. One that lays tokens anew goes on with `call.laid(length, grid)`, and keeps no state."""

    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)

    def __init__(
        self, site: Site, *, dim: Annotated[Count, "channels from here on; none: as many"] | None = None
    ) -> None:
        super().__init__()
        self.out = site.axis("stream", dim or site.stream.size)
        self.proj = site.linear("proj", site.stream, self.out)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        return self.proj(x, call), call, state
