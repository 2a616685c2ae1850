"""A mixer and behind it a branch that reads what the mixer says, with a skip of its own.

    z = F(N(x))        y = z + s B(z)        F the mixer, B the branch, s fixed or learned

Shapes   x, y (B,T,D)
Source   arXiv 1902.00751    Slug  adaptformer    Family  adapters
Tags     memory=of its mixer, decay=of its mixer
Differs  nothing known
"""

from typing import Annotated

from blockyard.core import Site, Spec
from blockyard.core.attached import AttachedBehind
from blockyard.core.settings import ChannelSpec, MixerSpec, Number


class Behind(AttachedBehind):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True,
        time_exponent=2.0,
    )  # fmt: skip
    points = ("added",)

    def __init__(
        self, site: Site, *, base: Annotated[MixerSpec, "what it is attached to"] = Spec("mixer", "attention"),
        branch: Annotated[ChannelSpec, "what is attached: it reads each token alone"] = Spec("channel", "bottleneck"),
        factor: Annotated[Number, "what the branch counts; where it is learned, at first"] = 1.0,
        learned: Annotated[bool, "whether that is learned"] = False,
    ) -> None:  # fmt: skip
        super().__init__(site, base, branch, factor, learned)
