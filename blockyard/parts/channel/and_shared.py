"""A channel, and beside it a second one that every token uses, opened by a gate of its own.

    y = F(x) + act(w . x) S(x)        w . x a number a token; without a gate y = F(x) + S(x)

F is a choice of experts, mostly, and S what all tokens need of them.

Shapes   x, y (B,T,D)   w (1,D)
Source   arXiv 2401.06066    Family  channel
Differs  one shared channel, as wide as wanted (paper: several experts, which are one of their widths together)
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Axis, Call, Site, Spec, Sublayer, sub
from blockyard.core.claims import together
from blockyard.core.settings import ActivationSpec, ChannelSpec


class AndShared(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("gate", "shared")
    variants = ({}, dict(gate="sigmoid"), dict(routed="mlp"))

    def __init__(
        self, site: Site, *,
        routed: Annotated[ChannelSpec, "what stands beside the shared one"] = Spec("channel", "experts"),
        shared: Annotated[ChannelSpec, "what every token uses"] = Spec("channel", "gated"),
        gate: Annotated[ActivationSpec, "the activation of the shared one's gate; none: it is always open"]
        | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.routed, self.shared = site.build("routed", routed), site.build("shared", shared)
        self.gate = None
        if gate is not None:
            door = Axis("gate", 1)
            door.fixed = "one number a token"
            self.gate_in, self.gate = site.linear("gate_in", site.stream, door), site.slot("gate", gate, on=door)
        held = together((self.routed, self.shared))
        self.claims = {name: value for name, value in held.items() if name in type(self).claims}

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        y, mine = self.routed(x, call, sub(state, "routed"))
        z, theirs = self.shared(x, call, sub(state, "shared"))
        if self.gate is not None:
            z = z * self.point("gate", self.gate(self.gate_in(x, call), call), call)
        kept = {name: each for name, each in (("routed", mine), ("shared", theirs)) if each}
        return y + self.point("shared", z, call), None if state is None else kept
