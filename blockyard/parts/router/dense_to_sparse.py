"""A gate that lets a token go to all experts when training begins and to fewer the colder it gets, at last to one.

    g = softmax((W x + z) / tau)        A = {e: g_e > least}, or the largest alone where none is        w_e = p_e in A
    p = softmax(W x)                    z: Gumbel noise, drawn in training only
    tau falls from `hot` to `cold`, evenly in its logarithm, between the shares `since` and `until` of the run

From `until` on, and in evaluation, A is the largest alone. What evens the load are shares g.

Shapes   x (B,T,D)   W (E,D)   g, p, z, w (B,T,E)
Source   arXiv 2112.14397    Slug  evomoe    Family  router
Differs  the clock is the share of the run, not a number of updates
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Axis, Call, Router, Site, UsageError
from blockyard.core.settings import NonNegative, Positive, Share
from blockyard.parts.router._scores import matrix, scores


class DenseToSparse(Router):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, experts: Axis, *, hot: Annotated[Positive, "the temperature at first"] = 1.0,
        cold: Annotated[Positive, "the temperature at last"] = 0.1,
        since: Annotated[NonNegative, "the share of the run at which it begins to fall"] = 0.0,
        until: Annotated[Share, "the share of the run at which one expert is left"] = 1.0,
        least: Annotated[NonNegative, "what an expert's share must exceed"] = 0.001,
        noise: Annotated[NonNegative, "how large the noise of training is"] = 1.0,
        renormalise: Annotated[bool, "whether the weights of a token's experts are scaled to sum to one"] = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if not since < until:
            raise UsageError(f"{site.path}: since={since} must lie before until={until}")
        if cold > hot:
            raise UsageError(f"{site.path}: cold={cold} must not be above hot={hot}")
        self.weight = matrix(site, experts)
        self.hot, self.cold, self.since, self.until = hot, cold, since, until
        self.least, self.noise, self.renormalise = least, noise, renormalise

    def temperature(self, progress: float) -> float:
        """tau when this share of the run is done."""
        done = (progress - self.since) / (self.until - self.since)
        return self.hot * (self.cold / self.hot) ** min(1.0, max(0.0, done))

    def alone(self, call: Call) -> bool:
        """Whether a token goes to one expert in such a forward."""
        return not call.training or call.progress >= self.until

    def active(self, call: Call) -> int:
        return 1 if self.alone(call) else self.weight.shape[0]

    def forward(self, x: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        z = scores(x, self.weight)
        p, g = z.softmax(-1), z
        if call.training:
            if self.noise:
                drawn = call.uniform(self.path, tuple(z.shape)).clamp(min=2.0**-26).to(z.dtype)
                g = g - self.noise * (-drawn.log()).log()
            g = (g / self.temperature(call.progress)).softmax(-1)
        used = torch.zeros_like(g).scatter(-1, g.argmax(-1, keepdim=True), 1.0)
        if not self.alone(call):
            used = torch.maximum(used, (g > self.least).to(used.dtype))
        weight = p * used
        if self.renormalise:
            weight = weight / weight.sum(-1, keepdim=True)
        return weight, g if call.training else p
