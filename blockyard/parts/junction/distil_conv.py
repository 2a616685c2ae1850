"""Half as many tokens: a filter over three neighbours, then of every other three the largest, channel by channel.

    h_t = act(N(sum_j W_j x_{t+j-1} + b))        x'_t = max(h_{2t-1}, h_{2t}, h_{2t+1})        j = 0, 1, 2

The filter goes round: the token before the first is the last one. The largest is of those that are there.

Shapes   x (B,T,D)   x' (B,ceil(T/2),D)   W (D,D,3)   b (D)
Source   arXiv 2012.07436    Family  junction
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import conv1d, max_pool1d, pad

from blockyard.core import Call, Junction, Prod, Site, Spec, UsageError, constant, normal
from blockyard.core.settings import ActivationSpec, NormSpec


class DistilConv(Junction):
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(norm=None, activation="relu"))

    def __init__(
        self, site: Site, *,
        norm: Annotated[NormSpec, "the norm behind the filter; none: no norm"] | None = Spec("norm", "batch"),
        activation: Annotated[ActivationSpec, "the activation before the largest is taken"] = Spec("activation", "elu"),
    ) -> None:  # fmt: skip
        super().__init__()
        taps = site.axis("taps", 3)
        taps.ordered, taps.fixed = True, "the filter reads a token and its two neighbours"
        spread = normal(Prod(site.stream, taps).size ** -0.5)
        self.weight = site.param("weight", (site.stream, site.stream, taps), spread, decay=True)
        self.bias = site.param("bias", (site.stream,), constant(0.0))
        self.norm, self.activation = site.slot("norm", norm), site.slot("activation", activation)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        if call.valid is not None or call.segment is not None:
            raise UsageError(f"{self.path}: halves whole rows of tokens that all count")
        around = pad(x.transpose(1, 2), (1, 1), mode="circular")
        h = conv1d(around, self.weight.to(x.dtype), self.bias.to(x.dtype)).transpose(1, 2)
        h = self.activation(h if self.norm is None else self.norm(h, call), call)
        y = max_pool1d(h.transpose(1, 2), 3, 2, 1).transpose(1, 2)
        return y, call.laid(y.shape[1]), state
