"""Two channels, one after the other, with nothing in between.

    y = G(F(x))

Shapes   x, y (B,T,D)
Source   none    Family  channel
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer
from blockyard.core.claims import together
from blockyard.core.settings import ChannelSpec


class Chain(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)

    def __init__(
        self, site: Site, *, first: Annotated[ChannelSpec, "what reads the stream"] = Spec("channel", "mlp"),
        second: Annotated[ChannelSpec, "what reads what the first one says"] = Spec("channel", "mlp"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = site.build("first", first)
        self.second = site.build("second", second)
        shared = together((self.first, self.second))
        self.claims = {name: value for name, value in shared.items() if name in type(self).claims}

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        mine, theirs = (None, None) if state is None else (state.get("first", {}), state.get("second", {}))
        y, mine = self.first(x, call, mine)
        y, theirs = self.second(y, call, theirs)
        kept = {name: each for name, each in (("first", mine), ("second", theirs)) if each}
        return y, None if state is None else kept
