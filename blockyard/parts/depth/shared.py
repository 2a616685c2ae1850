"""One block that runs several times with the same parameters, each loop with a state of its own.

    x -> block -> block -> ...        `loops` times, `signal` added before each where there is one

Shapes   x (B,T,D)
Source   arXiv 1909.11942, 1807.03819 (the signal)    Family  depth
Differs  nothing known
"""

from typing import Annotated, Any

from blockyard.core import Depth, Site, UsageError
from blockyard.core.part import acting
from blockyard.core.settings import Depths, PositionSpec


class Shared(Depth):
    claims = dict(per_token=True, row_independent=True)

    def __init__(
        self, site: Site, names: tuple[str, ...], *, loops: Annotated[Depths, "how often the block runs"] = 2,
        signal: Annotated[PositionSpec, "what is added to the stream before every loop"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(names) != 1:
            raise UsageError(f"depth:shared repeats one block, given {', '.join(names)}")
        self.name, self.loops = names[0], loops
        self.signal = acting(site.slot("signal", signal), "at_input")

    def plan(self) -> list[tuple[str, int]]:
        return [(self.name, self.loops)]

    def forward(self, flow: Any, run: Any) -> Any:
        if self.signal is None:
            return super().forward(flow, run)
        for loop in range(self.loops):
            flow = flow._replace(carry=self.signal.at_input(flow.x, flow.call._replace(loop=loop)), rule=None)
            for step in self.blocks[0]:
                flow = run(flow, step, loop)
        return flow
