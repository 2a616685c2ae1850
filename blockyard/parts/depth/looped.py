"""All blocks in order, each several times in a row with the same parameters.

    x -> a -> a -> .. -> b -> b -> ..        each `loops` times

Shapes   x (B,T,D)
Source   arXiv 1905.10437    Family  depth
Differs  nothing known
"""

from typing import Annotated

from blockyard.core import Depth, Site, UsageError
from blockyard.core.settings import Depths


class Looped(Depth):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, names: tuple[str, ...], *, loops: Annotated[Depths, "how often each block runs"] = 2
    ) -> None:
        super().__init__()
        if not names:
            raise UsageError(f"{site.path}: depth:looped repeats blocks, and there is none")
        self.names, self.loops = names, loops

    def plan(self) -> list[tuple[str, int]]:
        return [(name, self.loops) for name in self.names]
