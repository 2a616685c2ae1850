"""Two mixers that read the same tokens; what both say is added.

    y = F(x) + G(x)

Shapes   x, y (B,T,D)
Source   arXiv 2507.22448    Family  wiring
Tags     memory=of its mixers, decay=of its mixers
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer, sub
from blockyard.core.claims import together
from blockyard.core.settings import MixerSpec


class SideBySide(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=2.0)
    variants = ({}, dict(second="attention"))

    def __init__(
        self, site: Site, *, first: Annotated[MixerSpec, "one of the two"] = Spec("mixer", "attention"),
        second: Annotated[MixerSpec, "the other"] = Spec("mixer", "mamba"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.first, self.second = site.build("first", first), site.build("second", second)
        shared = together((self.first, self.second))
        self.claims = {name: value for name, value in shared.items() if name in type(self).claims}

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        y, mine = self.first(x, call, sub(state, "first"))
        z, theirs = self.second(x, call, sub(state, "second"))
        kept = {name: leaves for name, leaves in (("first", mine), ("second", theirs)) if leaves}
        return y + z, None if state is None else kept
