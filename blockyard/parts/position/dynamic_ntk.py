"""Rotary positions whose base grows with the row, as soon as it is longer than those in training.

    (x_i, x_{i+K/2}) <- rotation by p * b^(-2i/K)        b = base * s^(K/(K-2)),  i < K/2
    s = max(1, factor n / trained - (factor - 1))        n: tokens of the document that p is in

All keys turn at the speeds of the whole document. Those that a state keeps have turned at those of a shorter one, so
there is no going on from a state; `position:ntk`, with a factor for the whole text, does. With `carried`, texts do that
are not longer than that, and so turn like those in training.

Shapes   q (B,T,H,K)   k (B,T,G,K)   tables cos, sin (B or 1,T,1,K/2), made once a forward
Source   arXiv 2309.00071    Family  position
Differs  the length is that of each row and packed document, not of the batch; a state is refused
"""

from torch import Tensor

from blockyard.core import Call, Site, widest_dtype
from blockyard.core.settings import Base, Carried, Longer, Trained
from blockyard.parts.position._rope import Rotary, document_lengths


class DynamicNtk(Rotary):
    claims = dict(causal=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True)
    variants = (dict(trained=5), dict(trained=64, carried=64), {})

    def __init__(
        self, site: Site, *, factor: Longer = 1.0, trained: Trained | None = None, base: Base = 10000.0,
        carried: Carried | None = None,
    ) -> None:  # fmt: skip
        super().__init__(site, base)
        self.factor, self.trained, self.carried = factor, trained or site.length, carried
        if carried is not None:
            self.carries(carried, self.trained, site.path)

    def speeds(self, call: Call) -> Tensor:
        device = call.positions.device
        length = document_lengths(call, self.path, "position:ntk", self.carried).to(widest_dtype(device))
        longer = (self.factor * length / self.trained - (self.factor - 1)).clamp(min=1)
        return super().speeds(call) * longer[..., None, None] ** -self.reach(device)
