"""What objectives of next tokens share: which token follows which, and which of those are asked for."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Batch


def links(batch: Batch) -> Tensor:
    """(B,T) whether the token after each one counts, as it does, and goes on in its segment."""
    valid, reset = batch.valid, batch.resets()
    if valid is None:
        valid = torch.ones(batch.tokens.shape[:2], dtype=torch.bool, device=batch.tokens.device)
    found = pad(valid[:, :-1] & valid[:, 1:], (0, 1))
    return found if reset is None else found & ~pad(reset[:, 1:], (0, 1))


def followed(batch: Batch, most: int) -> list[Tensor]:
    """(B,T) for i = 1 .. most: whether the next i tokens of each follow it in its segment."""
    link = links(batch)
    found = [link]
    for i in range(1, most):
        found.append(found[-1] & link.roll(-i, 1))
    return found[:most]


def next_tokens(batch: Batch) -> Tensor:
    """(B,T) the next token of each token in its segment, or what a batch asks for; -1 where nothing is."""
    if batch.targets is None:
        return batch.tokens.roll(-1, 1).masked_fill(~links(batch), -1)
    targets = batch.targets.clamp(min=-1)
    return targets if batch.valid is None else targets.masked_fill(~batch.valid, -1)
