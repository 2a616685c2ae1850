"""What a sublayer writes stands beside the stream from then on; nothing that was written is ever changed.

    x <- [x | y]        y = F(N(x)) where the sublayer has a width of its own, else W F(N(x)), of `growth` channels

The stream grows from step to step, and later sublayers and the head stand on all of it. A block of such steps runs
once. With a norm every sublayer sees earlier channels at a scale of its own; without one, as they are.

Shapes   x (B,T,D), D larger at each step   y (B,T,G)
Source   arXiv 2306.01128, 1608.06993    Slug  transformer-programs    Family  residual
Differs  nothing known
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Cat, Residual, Site, Spec
from blockyard.core.settings import Count, NormSpec


class Append(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(growth=5, norm=None))

    def __init__(
        self, site: Site, *, growth: Annotated[Count, "channels that a step adds, where its sublayer has none"] = 16,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads; none: it reads the stream"] | None
        = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm, self.added = site.slot("norm", norm), site.axis("growth", growth)
        self.down: Any = None

    def before(self, part: Any, site: Any) -> None:
        made = part.written
        if made is None:
            made = self.added
            self.down = site.linear("down", site.stream, made)
        else:
            del site.context.axes[site.child("growth")]  # nothing stands on it
        held = site.stream.parts if isinstance(site.stream, Cat) else (site.stream,)
        self.wider = Cat(*held, made)

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return carry if self.norm is None else self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        return torch.cat([carry, y if self.down is None else self.down(y, call)], -1)
