"""Read all tokens of a row side by side and map them to the steps ahead; each row is a variable.

    y = W [N(x_1) .. N(x_n)] + b, scaled back

Shapes   x (B*K,n,D)   forecast (B,H,K)   W (H,nD)
Source   arXiv 2211.14730    Family  series
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Prod, Site, Spec, UsageError
from blockyard.core.settings import Horizon, NormSpec
from blockyard.parts.head import _scale


class StepsAhead(Head):
    says = "forecast"
    around = dict(stem=("series_patches", {}))
    claims = dict(row_independent=True, bidirectional=True)

    def __init__(
        self, site: Site, *, horizon: Horizon = 96,
        norm: Annotated[NormSpec, "the norm of every token before they are read; none: no norm"] | None
        = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.outputs, self.tokens = _scale.of_stem(site, "outputs"), _scale.of_stem(site, "tokens")
        self.horizon = site.axis("horizon", horizon)
        self.horizon.ordered = True
        self.norm = site.slot("norm", norm)
        self.proj = site.linear("proj", Prod(self.tokens, site.stream), self.horizon, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        if x.shape[1] != self.tokens.size:
            raise UsageError(f"{self.path} reads the {self.tokens.size} tokens of its stem, not {x.shape[1]}")
        x = x if self.norm is None else self.norm(x, call)
        y = _scale.back(self.proj(x.flatten(1), call)[:, None], call)
        return {"forecast": y.unflatten(0, (-1, self.outputs.size))[:, :, 0].transpose(1, 2)}, call, state
