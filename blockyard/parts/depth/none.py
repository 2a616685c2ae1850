"""No block at all: the head reads what the stem gives.

    x -> x

Shapes   x (B,T,D)
Source   none    Family  depth
Differs  nothing known
"""

from blockyard.core import Depth, Site


class NoDepth(Depth):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, names: tuple[str, ...]) -> None:
        super().__init__()

    def plan(self) -> list[tuple[str, int]]:
        return []
