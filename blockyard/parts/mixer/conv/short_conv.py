"""A few taps over the last tokens, channel by channel, then an activation.

    y_t = act(sum_i w_i x_{t-W+1+i} + b)        i < W

Shapes   x, y (B,T,D)   w (D,W)   b (D)
Source   arXiv 2312.00752    Family  conv
Tags     memory=window, decay=none
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Axis, Call, Site, Spec, Sublayer, constant, keep, leaf, uniform_in
from blockyard.core.settings import ActivationSpec, Bias, Count, Fraction
from blockyard.core.site import Init
from blockyard.kernels import causal_conv


class ShortConv(Sublayer):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, time_exponent=1.0)
    variants = ({}, dict(width=2, bias=True), dict(width=3, own=0.5, activation=None))

    def __init__(
        self,
        site: Site,
        *,
        width: Annotated[Count, "tokens that an output reads, its own counted"] = 4,
        own: Annotated[Fraction, "the own token's tap at first, the others (1 - own) / width each; none: drawn"]
        | None = None,
        bias: Bias = False,
        activation: Annotated[ActivationSpec, "the activation of what the filter gives; none: linear"] | None = Spec(
            "activation", "silu"
        ),
    ) -> None:
        super().__init__()
        taps = (site.stream, Axis("tap", width))
        start = uniform_in(-(width**-0.5), width**-0.5) if own is None else _own_first(own)
        self.weight = site.param("weight", taps, start)
        self.bias = site.param("bias", (site.stream,), constant(0.0)) if bias else None
        self.activation = site.slot("activation", activation)
        self.silu = activation is not None and activation.name == "silu"  # in one pass with the filter

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        tail = leaf(state, "tail")
        y, tail = causal_conv(x, self.weight, self.bias, tail=tail, valid=call.valid, reset=call.reset, silu=self.silu)
        if self.activation is not None and not self.silu:
            y = self.activation(y, call)
        return y, keep(state, tail=tail)


def _own_first(own: float) -> Init:
    """Taps of which the last one, the own token's, is so large, and the others share the rest by the width."""

    def fill(taps: Tensor, _: Any) -> None:
        taps.fill_((1 - own) / taps.shape[-1])
        taps[..., -1] = own

    return fill
