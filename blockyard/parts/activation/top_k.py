"""Of what another activation gives, only each token's largest numbers.

    a = act(x)        y_i = a_i where it is one of the k largest of its token, else 0

Of equal ones the first stay. Where a token has no more than k numbers, all stay.

Shapes   x, y (..., D)
Source   arXiv 2210.06313    Slug  lazy-neuron    Family  activation
Differs  nothing known
"""

from typing import Annotated

import torch
from torch import Tensor

from blockyard.core import Call, Part, Site, Spec
from blockyard.core.settings import ActivationSpec, Count
from blockyard.kernels import largest


class TopK(Part):
    unrecorded = "which numbers are the largest is no instruction yet"
    claims = dict(per_token=True, row_independent=True)
    variants = (dict(k=4), dict(k=200), dict(k=7, activation="gelu"))

    def __init__(
        self, site: Site, *, k: Annotated[Count, "numbers of a token that stay"] = 128,
        activation: Annotated[ActivationSpec, "the activation before"] = Spec("activation", "relu"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.activation, self.k = site.slot("activation", activation), k

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        a = self.activation(x, call)
        return torch.zeros_like(a).scatter(-1, *reversed(largest(a, self.k)))
