"""What positions by harmonic numbers of the distance share: a penalty for each head, beside what turns.

m_h Har(d)        m_h = slope 2^(-8 h / H),  h = 1..H        Har(n) = 1 + 1/2 + ... + 1/n,  Har(0) = 0
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Call, Position, Prod, Site, Spec, UsageError, widest_dtype


class HarmonicBase(Position):
    """Queries and keys turned by the part in a slot, and the size of a penalty by distance."""

    def __init__(self, site: Site, slope: float, turn: Spec | None) -> None:
        super().__init__()
        self.slope = slope
        *self.heads, _ = site.stream.leaves()
        for axis in self.heads:
            axis.ordered = True
        self.turn: Position | None = site.slot("turn", turn)
        if turn is not None and not _only_turns(self.turn):
            raise UsageError(f"{site.path}: turn=position:{turn.name} must turn queries and keys, and do nothing else")

    def at_qk(self, q: Tensor, k: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        return (q, k) if self.turn is None else self.turn.at_qk(q, k, call)

    def penalty(self, n: int, device: torch.device | None = None) -> Tensor:
        """(H,n) m_h Har(d) of the distances from 0 to n - 1."""
        count = Prod(*self.heads).size
        slopes = self.slope * 2.0 ** (-8.0 * torch.arange(1, count + 1, device=device) / count)
        wide = widest_dtype(slopes.device)
        har = torch.cat(
            [slopes.new_zeros(1, dtype=wide), (1 / torch.arange(1, n, device=device, dtype=wide)).cumsum(0)]
        )
        return slopes[:, None] * har.to(slopes.dtype)


def _only_turns(part: Any) -> bool:
    """Whether a position acts on queries and keys alone."""
    made = type(part)
    others = (
        made.at_input is Position.at_input, made.by_distance is Position.by_distance, made.bias is Position.bias,
        made.at_far is Position.at_far, not made.rescores,
    )  # fmt: skip
    return made.at_qk is not Position.at_qk and all(others)
