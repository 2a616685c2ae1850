"""A mixer, a norm and a channel as one step: together behind one skip.

    y = channel(N(mixer(x)))

Shapes   x, y (B,T,D)
Source   arXiv 2201.03545    Family  wiring
Tags     memory=of its mixer, decay=of its mixer
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Site, Spec, Sublayer, sub
from blockyard.core.settings import ChannelSpec, MixerSpec, NormSpec


class BeforeChannel(Sublayer):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True,
        time_exponent=2.0,
    )  # fmt: skip

    def __init__(
        self, site: Site, *, mixer: Annotated[MixerSpec, "what comes first"] = Spec("mixer", "attention"),
        channel: Annotated[ChannelSpec, "what comes after it"] = Spec("channel", "mlp"),
        norm: Annotated[NormSpec, "the norm between the two; none: no norm"] | None = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.mixer, self.norm, self.channel = (
            site.build("mixer", mixer), site.slot("norm", norm), site.build("channel", channel),
        )  # fmt: skip

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        y, mixed = self.mixer(x, call, sub(state, "mixer"))
        y = y if self.norm is None else self.norm(y, call)
        y, after = self.channel(y, call, sub(state, "channel"))
        kept = {name: leaves for name, leaves in (("mixer", mixed), ("channel", after)) if leaves}
        return y, None if state is None else kept
