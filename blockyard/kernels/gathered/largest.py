"""The largest numbers of a token, by a rule that also says which of equal ones."""

import torch
from torch import Tensor


def largest(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of x (..., F) and their places, both (..., count), or all where there are no more.

    Of equal ones the first are taken, on every device.
    """
    values, places = torch.sort(x, dim=-1, descending=True, stable=True)
    return values[..., :count], places[..., :count]
