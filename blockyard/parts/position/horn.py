"""Give the mean of each token's channels the value of its position: 1 at the first token, ever less at later ones.

    x_t <- x_t - mean(x_t) + 1 / (p_t + 1)

Whatever differs between channels stays; positions are counted on while a model decodes.

Shapes   x (B,T,D)
Source   arXiv 2604.14430    Slug  three-phase    Family  position
Differs  true positions in decoding, where the authors' code sees position 0 at every step
"""

from torch import Tensor

from blockyard.core import Call, Position, Site, upcast


class Horn(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)

    def __init__(self, site: Site) -> None:
        super().__init__()

    def at_input(self, x: Tensor, call: Call) -> Tensor:
        value = upcast((call.positions + 1).to(x.dtype)).reciprocal()[..., None]
        return x + (value + -upcast(x).mean(-1, keepdim=True)).to(x.dtype)
