"""Blocks of which training leaves some out, a block with a chance of its own, other ones at every step.

    x -> [block_1] -> [block_2] -> ... -> [block_L]        [block_l]: while training x with chance p_l, else block_l(x)
    p_l = share, or where `first` is given, evenly from first at l = 1 to share at l = L

Which are left out follows from the run's seed and the optimiser's step alone: all rows of a batch, and all pieces that
it is taken in, leave out the same ones, and what is left out costs nothing. Where all would go, one stays. Outside
training every block runs, with what it writes as it is.

Shapes   x (B,T,D)
Source   arXiv 1909.11556, 1603.09382 (rising shares)    Family  depth
Differs  one block always stays; stochastic depth scales what blocks write by 1 - p_l outside training, this does not
"""

from typing import Annotated, Any

from blockyard.core import Depth, Site, Spec, UsageError
from blockyard.core.settings import DepthSpec, Fraction


class Dropped(Depth):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(share=0.5, first=0.0))

    def __init__(
        self, site: Site, names: tuple[str, ...], *,
        of: Annotated[DepthSpec, "the program whose blocks are left out: one that runs each once"]
        = Spec("depth", "stack"),
        share: Annotated[Fraction, "the chance that training leaves out a block, where it rises the last one"] = 0.2,
        first: Annotated[Fraction, "the chance of the first block, from which it rises; none: that of all"] | None
        = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.of = site.build("of", of, names)
        if type(self.of).forward is not Depth.forward or any(loops > 1 for _, loops in self.of.plan()):
            raise UsageError(f"depth:dropped leaves out blocks that run once each, and depth:{of.name} has others")
        self.share, self.first = share, share if first is None else first

    def plan(self) -> list[tuple[str, int]]:
        return self.of.plan()

    def laid(self, names: tuple[str, ...]) -> Spec:
        return self.spec.but(of=self.of.laid(names))

    def chances(self) -> list[float]:
        """The chance of each block to be left out."""
        count = len(self.plan())
        rise = (self.share - self.first) / max(1, count - 1)
        return [self.first + rise * i for i in range(count)] if count > 1 else [self.share] * count

    def runs(self) -> list[float]:
        """How often each block runs at a step of training, on average; one stays where all would go."""
        chances, all_go = self.chances(), 1.0
        for chance in chances:
            all_go *= chance
        return [1 - chance + all_go / len(chances) for chance in chances]

    def left_out(self, call: Any) -> list[bool]:
        """Which blocks this step of training leaves out."""
        chances = self.chances()
        # of the whole step: the same for all pieces of a batch
        drawn = call._replace(micro_batch=0).uniform(self.path, (len(chances),)).tolist()
        found = [number < chance for number, chance in zip(drawn, chances)]
        if all(found):  # each stays as often as another: given that it goes, its number is even below its chance
            found[max(range(len(found)), key=lambda i: drawn[i] / chances[i])] = False
        return found

    def forward(self, flow: Any, run: Any) -> Any:
        whole = not flow.call.training or flow.call.positions.is_meta
        gone = [False] * len(self.blocks) if whole else self.left_out(flow.call)
        for steps, out in zip(self.blocks, gone):
            for step in () if out else steps:
                flow = run(flow, step, 0)
        return flow
