"""What is shown in place of tokens that are asked: a mask, another token, or the token itself."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blockyard.core import Batch, Site, UsageError


@dataclass(frozen=True)
class Shown:
    """How often a mask (`hidden`) and another token (`swapped`) is shown; otherwise the token itself is.

    vocab   ids that there are, the mask's included        mask   its id
    """

    hidden: float
    swapped: float
    vocab: int
    mask: int

    @staticmethod
    def of(site: Site, hidden: float, swapped: float, vocab: int, mask: int | None) -> "Shown":
        """With the last id as the mask where none is given; refused where the shares or the ids do not fit."""
        mask = vocab - 1 if mask is None else mask
        if hidden + swapped > 1:
            raise UsageError(f"{site.path}: hidden={hidden:g} and swapped={swapped:g} are shares of one whole")
        if vocab < 2 or mask >= vocab:
            raise UsageError(f"{site.path}: mask={mask} must lie among the vocab={vocab} ids, with a token beside it")
        return Shown(hidden, swapped, vocab, mask)

    def instead(self, batch: Batch, asked: Tensor, which: Tensor, what: Tensor) -> Batch:
        """The batch with what is shown where it is asked (B,T), and targets; `which`, `what`: numbers in [0,1)."""
        tokens = batch.tokens
        other = (what * (self.vocab - 1)).long().clamp(max=self.vocab - 2)
        other = other + (other >= self.mask)  # any id but the mask's
        shown = torch.where(
            which < self.hidden, self.mask, torch.where(which < self.hidden + self.swapped, other, tokens)
        )
        return replace(batch, tokens=torch.where(asked, shown, tokens), targets=torch.where(asked, tokens, -1))


def askable(batch: Batch) -> Tensor:
    """(B,T) the tokens that may be asked: those that count, whose target is not below 0."""
    free = torch.ones_like(batch.tokens, dtype=torch.bool) if batch.valid is None else batch.valid
    return free if batch.targets is None else free & (batch.targets >= 0)
