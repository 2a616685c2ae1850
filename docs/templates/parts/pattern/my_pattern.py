"""A query reads the last tokens, in every later layer of its kind twice as many.

    j is read by i        i - j < first 2^l,  l: how many layers of this kind stand before

Shapes   none: what is read follows from positions
Source   none    Family  patterns
Differs  nothing known
"""

from typing import Annotated

from blockyard.core import Site
from blockyard.core.part import Pattern
from blockyard.core.settings import Count


class MyPattern(Pattern):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    variants = (dict(first=4),)

    def __init__(self, site: Site, *, first: Annotated[Count, "tokens that the first layer reads"] = 16) -> None:
        super().__init__()
        self.window = first * 2**site.ordinal

    # with `chooses = True`, `leaves(q_pos, k_pos, call)` would say of each pair whether it is read: that takes a mask
