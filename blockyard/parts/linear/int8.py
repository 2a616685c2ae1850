"""A projection in 8 bits, but for a few fixed columns that keep their precision.

    y = s_x s_w (X8 W8^T) + x_O W_O^T + b        X8 = round(x / s_x), s_x = max |x_j| / 127 of a token, over j not in O
                                                 W8 = round(W / s_w), s_w = max |W_oj| / 127 of a row, over j not in O

O is kept with the matrix, and empty at first: it is found on data by the transform `int8`. A token reads nothing of
others. Products are whole numbers of 32 bits. A store that keeps 8 bits a row gives its own codes, and W_O of them. It
does not learn.

Shapes   x (..., reads)   y (..., writes)   W (writes, reads)   O (reads), kept   b (writes)
Source   arXiv 2208.07339    Slug  llm-int8    Family  linear
Differs  O is fixed (paper: found in every batch); everything but the codes is single precision at least
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Expr, Site, Spec
from blockyard.core.settings import StoreSpec
from blockyard.parts.linear._int8 import InInt8


class Int8(InInt8):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(store=Spec("store", "int8_rows"), bias=True))

    def __init__(
        self, site: Site, reads: Expr, writes: Expr, biased: bool, gain: float, *,
        bias: Annotated[bool, "a learned number added to each output; none: where the part asks for it"] | None = None,
        store: StoreSpec = Spec("store", "dense"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.own(site, reads, writes, biased if bias is None else bias, gain, store)
        self.apart = site.buffer("apart", lambda _: torch.zeros(reads.size, dtype=torch.bool), (reads,))

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        return self.point("linear_out", self.times_matrix(self.point("linear_in", x, call), self.apart), call)
