"""A mixer, and beside it a branch that reads the stream itself, not what the residual rule makes of it.

    y = F(N(x)) + s B(x)        F the mixer, B the branch, s fixed or learned

Shapes   x, y (B,T,D)
Source   arXiv 2205.13535    Slug  adaptformer    Family  adapters
Tags     memory=of its mixer, decay=of its mixer
Differs  what the rule does to what is written, a norm or a gain, it does to the sum
"""

from typing import Annotated

from blockyard.core import Site, Spec
from blockyard.core.attached import AttachedBeside
from blockyard.core.settings import ChannelSpec, MixerSpec, Number


class Beside(AttachedBeside):
    claims = dict(
        causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True,
        time_exponent=2.0,
    )  # fmt: skip
    points = ("added",)

    def __init__(
        self, site: Site, *, base: Annotated[MixerSpec, "what it is attached to"] = Spec("mixer", "attention"),
        branch: Annotated[ChannelSpec, "what is attached: it reads each token alone"] = Spec("channel", "bottleneck"),
        factor: Annotated[Number, "what the branch counts; where it is learned, at first"] = 0.1,
        learned: Annotated[bool, "whether that is learned"] = False,
    ) -> None:  # fmt: skip
        super().__init__(site, base, branch, factor, learned)
