"""Transform the first token of a row once more, then score the classes of the row by it.

    h = N(act(V M(x_0) + c))        s = W h + b        M, N: a norm before and one behind; none unless a slot holds one

Shapes   x (B,T,D)   h (B,D)   classes (B,K)   V (D,D)   W (K,D)
Source   arXiv 1810.04805    Family  head
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec
from blockyard.core.settings import ActivationSpec, Classes, NormSpec


class TransformedClasses(Head):
    says = "classes"
    points = ("pooled",)
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(activation="gelu", norm="layer", before="rms"))

    def __init__(
        self, site: Site, *, classes: Classes = 2,
        activation: Annotated[ActivationSpec, "the activation of the transform"] = Spec("activation", "tanh"),
        norm: Annotated[NormSpec, "the norm of what is transformed; none: no norm"] | None = None,
        before: Annotated[NormSpec, "the norm before the transform; none: no norm"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.before = site.slot("before", before)
        hidden = site.axis("hidden", site.stream.size)
        self.transform = site.linear("transform", site.stream, hidden, bias=True)
        self.activation = site.slot("activation", activation, on=hidden)
        self.norm = site.slot("norm", norm, on=hidden)
        self.classes = site.axis("classes", classes)
        self.classes.ordered = True
        self.proj = site.linear("proj", hidden, self.classes, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        first = x[:, 0] if self.before is None else self.before(x[:, 0], call)
        h = self.activation(self.transform(first, call), call)
        h = self.point("pooled", h if self.norm is None else self.norm(h, call), call)
        return {"classes": self.proj(h, call)}, call, state
