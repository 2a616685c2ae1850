"""A projection in 8 bits, but for the columns that are large for some token of the batch.

    y = s_x s_w (X8 W8^T) + x_O W_O^T + b        O = {j: max over tokens of |x_j| >= alpha}, else as `int8`

What a token becomes depends on all tokens of the batch that count, later ones too, so a model with it promises neither
to read from left to right nor to keep rows apart, and does not go on from a state. Without an alpha no column is kept
apart; `scales=one` then is 8 bits with one scale for all tokens and one for all of W. It does not learn.

Shapes   x (..., reads)   y (..., writes)   W (writes, reads)   b (writes)
Source   arXiv 2208.07339    Slug  llm-int8    Family  linear
Differs  tokens that do not count have no say in O, nor in one scale for all; everything but the codes is single
         precision at least
"""

from typing import Annotated, Literal

import torch
from torch import Tensor

from blockyard.core import Call, Expr, Site, Spec
from blockyard.core.settings import Positive, StoreSpec
from blockyard.parts.linear._int8 import InInt8


class Int8Outliers(InInt8):
    couples = True
    variants = ({}, dict(alpha=None, scales="one"))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        alpha: Annotated[Positive, "from what size on an input's column keeps its precision; none: no column does"]
        | None = 6.0,
        scales: Annotated[Literal["rows", "one"], "a scale for every token and row of W, or one for all"] = "rows",
        bias: Annotated[bool, "a learned number added to each output; none: where the part asks for it"] | None = None,
        store: StoreSpec = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.own(site, reads, writes, biased if bias is None else bias, gain, store)
        self.alpha, self.whole = alpha, scales == "one"

    def outliers(self, x: Tensor, call: Call | None = None) -> Tensor:
        """(reads) bool: the columns of x (..., reads) that are large for a token that counts."""
        if self.alpha is None:
            return torch.zeros(x.shape[-1], dtype=torch.bool, device=x.device)
        large, counted = x.abs() >= self.alpha, _counted(x, call)
        return (large if counted is None else large & counted[..., None]).flatten(0, -2).any(0)

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        x = self.point("linear_in", x, call)
        y = self.times_matrix(x, self.outliers(x, call), self.whole, _counted(x, call))
        return self.point("linear_out", y, call)


def _counted(x: Tensor, call: Call | None) -> Tensor | None:
    """(...) bool: which tokens of x (..., reads) count; None: all, or what is no row of tokens."""
    valid = None if call is None else call.valid
    if valid is None or valid.shape != x.shape[: valid.dim()]:
        return None
    return valid.view(*valid.shape, *[1] * (x.dim() - 1 - valid.dim())).expand(x.shape[:-1])
