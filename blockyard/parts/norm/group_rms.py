"""Scale each group of a token's channels to unit root mean square, with a learned gain for every channel.

    y_g = w_g * x_g / sqrt(mean(x_g^2) + eps)        g: one of `groups`, or the first axis of the product it stands on

Shapes   x, y (..., G E)   w (G E)
Source   arXiv 2405.21060, 2604.14430    Family  norm
Differs  nothing known
"""

from typing import Annotated

from torch import Tensor

from blockyard.core import Call, Part, Site, constant
from blockyard.core.settings import Count, Eps
from blockyard.kernels import rms_norm


class GroupRMSNorm(Part):
    claims = dict(per_token=True, row_independent=True, scale_invariant=True)

    variants = ({}, dict(groups=3))

    def __init__(
        self, site: Site, *,
        groups: Annotated[Count, "runs of as many channels; none: a run for each place of a product's first axis"]
        | None = None, eps: Eps = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.parts = groups
        self.first, *self.rest = site.stream.leaves()
        if groups is not None:
            site.divide("groups", site.stream.size, groups)
            for axis in site.stream.leaves():
                axis.ordered, axis.multiple = True, groups
        self.gain = site.param("gain", (site.stream,), constant(1.0))
        self.eps = eps

    @property
    def groups(self) -> int:
        """How many there are, 1 where the whole is one."""
        return self.parts or (self.first.size if self.rest else 1)

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        gain = self.gain.to(x.dtype)
        if self.groups == 1:
            return rms_norm(x, gain, self.eps)
        gain = gain.view(self.groups, -1)
        return rms_norm(x.unflatten(-1, gain.shape), gain, self.eps).flatten(-2)

    def times(self, factor: Tensor) -> dict[str, Tensor]:
        return {"gain": self.gain * factor}
