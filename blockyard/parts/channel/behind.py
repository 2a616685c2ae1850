"""A channel and behind it a branch that reads what the channel says, with a skip of its own.

    z = F(N(x))        y = z + s B(z)        F the channel, B the branch, s fixed or learned

Shapes   x, y (B,T,D)
Source   arXiv 1902.00751    Slug  adaptformer    Family  adapters
Differs  nothing known
"""

from typing import Annotated

from blockyard.core import Site, Spec
from blockyard.core.attached import AttachedBehind
from blockyard.core.settings import ChannelSpec, Number


class Behind(AttachedBehind):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True, time_exponent=1.0)
    points = ("added",)

    def __init__(
        self, site: Site, *, base: Annotated[ChannelSpec, "what it is attached to"] = Spec("channel", "mlp"),
        branch: Annotated[ChannelSpec, "what is attached: it reads each token alone"] = Spec("channel", "bottleneck"),
        factor: Annotated[Number, "what the branch counts; where it is learned, at first"] = 1.0,
        learned: Annotated[bool, "whether that is learned"] = False,
    ) -> None:  # fmt: skip
        super().__init__(site, base, branch, factor, learned)
