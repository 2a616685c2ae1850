"""Every block in turn, so many rounds, each time with parameters of its own.

    x -> a_1 -> b_1 -> a_2 -> b_2 -> ...        `rounds` times

Shapes   x (B,T,D)
Source   none    Family  depth
Differs  nothing known
"""

from typing import Annotated

from blockyard.core import Depth, Site
from blockyard.core.settings import Depths


class MyDepth(Depth):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, names: tuple[str, ...], *, rounds: Annotated[Depths, "how often all blocks come"] = 1
    ) -> None:
        super().__init__()
        self.names, self.rounds = names, rounds

    def plan(self) -> list[tuple[str, int]]:
        # (block, loops): in a second loop the same parameters run again; `forward` decides what runs, by default all
        return [(name, 1) for _ in range(self.rounds) for name in self.names]
