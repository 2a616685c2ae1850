"""Cut each variable of a window into overlapping patches, a token each; every variable is a row of its own.

    z = scaling(x)        x_j = W z[jS .. jS+P-1] + b  (+ P[j])        z goes on with S copies of its last value

Shapes   tokens (B,L,C)   x (B*K,n,D), n = (L - P) // S + 2   W (D,P)
Source   arXiv 2211.14730    Family  series
Differs  the scaling has no gain and bias
"""

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Batch, Call, Site, Spec, Stem
from blockyard.core.part import acting
from blockyard.core.settings import Asked, Count, PositionSpec, ScalingSpec, Variables, Window
from blockyard.parts.stem import _window


class SeriesPatches(Stem):
    reads = "series"
    around = dict(head=("steps_ahead", {}))
    claims = dict(row_independent=True, bidirectional=True)
    variants = ({}, dict(length=24, channels=3, outputs=2, position="learned"), dict(scaling=None, patch=5, stride=3))

    def __init__(
        self, site: Site, *, length: Window = 96, channels: Variables = 1, outputs: Asked = 1,
        patch: Annotated[Count, "steps of a patch; a window that is shorter is one"] = 16,
        stride: Annotated[Count, "steps from patch to patch"] = 8,
        scaling: ScalingSpec | None = Spec("norm", "instance"), position: PositionSpec | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.length, self.channels, self.outputs = _window.axes(site, length, channels, outputs)
        self.patch = site.axis("patch", min(patch, length))
        self.patch.ordered, self.stride = True, stride
        self.length.fixed = self.patch.fixed = "how many tokens there are follows from the window and its patches"
        self.tokens = _window.fixed(site, (length - self.patch.size) // stride + 2)
        self.scaling = _window.scaling(site, scaling, self.length)
        self.proj = site.linear("proj", self.patch, site.stream, bias=True)
        self.position = acting(site.slot("position", position), "at_input")
        site.hold("position", self.tokens.fixed)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return _window.example(rows, self.length, self.channels, draw)

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        x, call = _window.apart(batch, self.length, self.outputs, next(self.proj.parameters())), call
        x, call = _window.scaled(x, self.scaling, call.laid(self.tokens.size, each=self.outputs.size))
        x = pad(x[:, None], (0, self.stride), mode="replicate")[:, 0].unfold(1, self.patch.size, self.stride)
        x = self.proj(x, call)
        return (x if self.position is None else self.position.at_input(x, call)), call, state
