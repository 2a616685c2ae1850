"""Factors whose blocks are orthonormal at first: the nearest to a normal draw, all singular values `gain`."""

import torch
from torch import Tensor

from blockyard.core.site import Init


def orthonormal(gain: float = 1.0, blocks: int = 1) -> Init:
    """Each of so many equal runs of rows as gain U V^T, where a normal draw is U S V^T."""

    def init(value: Tensor, rng: torch.Generator) -> None:
        drawn = value.normal_(generator=rng).double().unflatten(0, (blocks, -1))
        left, _, right = torch.linalg.svd(drawn, full_matrices=False)
        value.copy_((gain * left @ right).flatten(0, 1))

    return init
