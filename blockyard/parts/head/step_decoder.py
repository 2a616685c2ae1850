"""The channels of a row's one token are shared out to the steps ahead; the same small net says each of them.

    d_h = x_1[h p .. h p + p - 1]        y_h = w act(W d_h + c) + b + s d_h, scaled back        h = 0..H-1

With levels it says a quantile for each of them, and as the forecast the one nearest to the median.

Shapes   x (B*K,1,Hp)   d (B*K,H,p)   forecast (B,H,K)   quantiles (B,H,K,Q)   W (F,p)   w (1,F), of levels (Q,F)
Source   arXiv 2304.08424    Family  series
Differs  one bias in place of two that are added; what is known of a step in advance is not read
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Axis, Call, Head, Site, Spec, UsageError
from blockyard.core.settings import ActivationSpec, Horizon, Inner, Levels
from blockyard.parts.head import _scale


class StepDecoder(Head):
    says = "forecast"
    around = dict(stem=("history", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(horizon=4, inner=5, levels=(0.1, 0.5, 0.9)))

    def __init__(
        self, site: Site, *, horizon: Horizon = 8, levels: Levels = (),
        inner: Annotated[Inner, "channels inside; none: four times those of a step"] | None = None,
        activation: Annotated[ActivationSpec, "the activation between the two matrices"] = Spec("activation", "relu"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs, tokens = _scale.of_stem(site, "outputs"), _scale.of_stem(site, "tokens")
        if tokens.size != 1:
            raise UsageError(f"{site.path}: shares out the channels of one token, and this stem gives {tokens.size}")
        self.horizon, self.levels = site.axis("horizon", horizon), _scale.rising(site, levels)
        self.horizon.ordered = True
        self.each = site.axis("each", site.divide("horizon", site.stream.size, horizon))
        for axis in (self.horizon, self.each, *site.stream.leaves()):
            axis.fixed = "each step ahead has as many channels of the stream"
        hidden, said = site.axis("inner", inner or 4 * self.each.size), _scale.said(site, Axis("one", 1), self.levels)
        self.up = site.linear("up", self.each, hidden, bias=True)
        self.activation = site.slot("activation", activation, on=hidden)
        self.down = site.linear("down", hidden, said, bias=True)
        self.skip = site.linear("skip", self.each, said, kind=Spec.of("linear", "dense", {"bias": False}))

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        d = x[:, 0].unflatten(-1, (self.horizon.size, self.each.size))
        y = self.down(self.activation(self.up(d, call), call), call) + self.skip(d, call)
        y = _scale.back(y.transpose(1, 2).flatten(1)[:, None], call)
        return _scale.forecast(y.unflatten(0, (-1, self.outputs.size))[:, :, 0], self.levels), call, state
