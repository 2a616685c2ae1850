"""Score the classes of a whole row by its class token, which stands first.

    s = W N(x_0) + b

Shapes   x (B,T,D)   classes (B,K)
Source   arXiv 2010.11929    Family  head
Differs  one matrix, as in fine-tuning
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Head, Site, Spec, UsageError
from blockyard.core.settings import Classes, NormSpec


class ClassToken(Head):
    says = "classes"
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(stem=("class_patches", dict(height=8, width=8)))

    def __init__(
        self, site: Site, *, classes: Classes = 2,
        norm: Annotated[NormSpec, "the norm before the scores; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        if site.beside("stem.token") not in site.context.tensors:
            raise UsageError(f"{site.path}: head:class_token reads the class token, and this stem has none")
        self.norm = site.slot("norm", norm)
        self.classes = site.axis("classes", classes)
        self.classes.ordered = True
        self.proj = site.linear("proj", site.stream, self.classes, bias=True)

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[dict[str, Tensor], Call, Any]:
        first = x[:, 0]
        return {"classes": self.proj(first if self.norm is None else self.norm(first, call), call)}, call, state
