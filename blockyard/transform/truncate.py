"""Projections lose their smallest singular values: what a cleverer choice of directions is held against.

    W = U diag(s) V^T        W' = U diag(s where kept, else 0) V^T        kept: the largest, until `share` of sum s^2

Source   none
Family   editors
Differs  the matrix stays as large as it was; nothing is stored in two thin ones
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.settings import Patterns, Share
from blockyard.model.model import Model
from blockyard.probe.kfac import projections
from blockyard.transform._base import Applied, Transform
from blockyard.transform._sweep import copied
from blockyard.transform.kfac_edit import kept_of


class Truncate(Transform):
    def __init__(
        self, *, share: Annotated[Share, "of the squared singular values that is kept"] = 0.9,
        on: Annotated[Patterns, "patterns of paths of projections, with * for any word"] = ("steps.*",),
    ) -> None:  # fmt: skip
        self.share, self.on = share, on

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([part.path for part in projections(model, self.on)], f"{self.share:g} of its squared norm")

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        work, ranks = copied(model), dict[str, int]()
        if not next(model.parameters()).is_meta:
            for part in projections(work, self.on):
                made, ranks[part.path] = truncated(part.weight.double(), self.share)
                part.weight.copy_(made)
        return Applied(work, self.plan(model), report={"rank": ranks})


def truncated(weight: Tensor, share: float) -> tuple[Tensor, int]:
    """(O,I) the matrix of the largest singular values, and how many these are."""
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    kept = kept_of(s.square(), share)
    return (u * (s * kept)) @ v, int(kept.sum())
