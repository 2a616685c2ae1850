"""Lower a score by a harmonic number of the distance, beside a rotation: a penalty that grows like a logarithm.

    bias_h(d) = -slope 2^(-8 h / H) Har(|d|),  h = 1..H        Har(n) = 1 + 1/2 + ... + 1/n,  Har(0) = 0

Slots: what turns queries and keys beside it (`turn`).

Shapes   table (H, 2n-1)
Source   arXiv 2410.18441    Slug  generative-math-modeling    Family  position
Differs  a reading of a proposal that the source does not test; of its two forms only the one that is added
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Position, Prod, Site, Spec, UsageError, widest_dtype
from blockyard.core.settings import NonNegative, PositionSpec


class Harmonic(Position):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    variants = ({}, dict(turn=None))

    def __init__(
        self, site: Site, *, slope: Annotated[NonNegative, "factor on all slopes; 0: no penalty"] = 1.0,
        turn: Annotated[PositionSpec, "what turns queries and keys beside the penalty; none: nothing"]
        | None = Spec("position", "rope"),
    ) -> None:  # fmt: skip
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

    def by_distance(self, n: int) -> Tensor:
        count = Prod(*self.heads).size
        slopes = self.slope * 2.0 ** (-8.0 * torch.arange(1, count + 1) / count)
        har = (1 / torch.arange(1, n + 1, dtype=widest_dtype(slopes.device))).cumsum(0).to(slopes.dtype)
        apart = (torch.arange(2 * n - 1) - (n - 1)).abs()
        return -slopes[:, None] * torch.where(apart > 0, har[apart - 1], 0)


def _only_turns(part: Any) -> bool:
    """Whether a position acts on queries and keys alone."""
    made = type(part)
    others = (made.at_input is Position.at_input, made.by_distance is Position.by_distance, made.bias is Position.bias)
    return made.at_qk is not Position.at_qk and all(others)
