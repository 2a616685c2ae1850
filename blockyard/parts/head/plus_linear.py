"""What another head forecasts, plus one linear map of the window: the model has a linear forecaster inside it.

    y = head(x) + W z + b        z the window as its stem scaled it, W z + b scaled back in size, of each variable alike

Every quantile is moved by the same.

Shapes   z (R,L) or (B,C,L)   forecast (B,H,K)   quantiles (B,H,K,Q)   W (H,L)
Source   arXiv 2304.08424    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec, UsageError
from blockyard.core.settings import HeadSpec
from blockyard.parts.head import _scale


class PlusLinear(Head):
    says = "forecast"
    around = dict(stem=("series_patches", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(head=Spec.of("head", "steps_ahead", dict(levels=(0.1, 0.9)))))

    def __init__(
        self, site: Site, *, head: Annotated[HeadSpec, "what says the rest"] = Spec("head", "steps_ahead")
    ) -> None:
        super().__init__()
        self.head = site.build("head", head)
        if self.head.says != self.says:
            raise UsageError(f"{site.path}: head:{head.name} says {self.head.says}, and a line is added to a forecast")
        self.length, self.outputs = _scale.of_stem(site, "length"), _scale.of_stem(site, "outputs")
        horizon = site.context.axes.get(site.child("head.horizon")) or site.axis_of("stem.horizon")
        if horizon is None:
            raise UsageError(f"{site.path}: adds a number to each step of a horizon, and head:{head.name} has none")
        self.horizon = horizon
        self.proj = site.linear("proj", self.length, horizon, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        said, call, state = self.head(x, call, state)
        z = call.conditions["window"]
        if z.shape[-1] != self.length.size:
            raise UsageError(f"{self.path}: reads windows of {self.length.size} steps, and {z.shape[-1]} are scaled")
        rows = z[:, None] if z.dim() == 2 else z[:, : self.outputs.size]  # (R,1,L), or (B,K,L)
        y = _scale.sized(self.proj(rows, call), call).reshape(-1, self.outputs.size, self.horizon.size)
        y = y.transpose(1, 2)
        more = {"quantiles": said["quantiles"] + y[..., None]} if "quantiles" in said else {}
        return {**said, "forecast": said["forecast"] + y, **more}, call, state
