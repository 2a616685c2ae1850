"""One block that runs several times with the same parameters, each loop with a state of its own.

    x -> block -> block -> ...        `loops` times

Shapes   x (B,T,D)
Source   arXiv 1909.11942    Family  depth
Differs  nothing known
"""

from typing import Annotated

from blockyard.core import Depth, Site, UsageError
from blockyard.core.settings import Depths


class Shared(Depth):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, names: tuple[str, ...], *, loops: Annotated[Depths, "how often the block runs"] = 2
    ) -> None:
        super().__init__()
        if len(names) != 1:
            raise UsageError(f"depth:shared repeats one block, given {', '.join(names)}")
        self.name, self.loops = names[0], loops

    def plan(self) -> list[tuple[str, int]]:
        return [(self.name, self.loops)]
