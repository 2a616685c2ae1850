"""As many blocks, or as many loops of one block, as training draws at every step; a fixed number otherwise.

    n ~ U{least, .., N}        x -> 1 -> 2 -> ... -> n        outside training n = usual

What is counted follows from the program in `of`: the loops of a block that is shared, else its blocks, N of them. The
number follows from the run's seed and the optimiser's step alone: all rows and all pieces of a batch run as many.

Shapes   x (B,T,D)
Source   arXiv 2502.05171 (loops)    Family  depth
Differs  the paper draws from a long-tailed distribution and lets gradients through the last loops only; here every
         number is as likely, and all loops learn
"""

from itertools import accumulate, pairwise
from typing import Annotated, Any

from blockyard.core import Depth, Site, Spec, UsageError
from blockyard.core.settings import Count, DepthSpec
from blockyard.parts.depth.shared import Shared


class Sampled(Depth):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(of=Spec.of("depth", "stack", dict(layers=3)), least=2, usual=2))

    def __init__(
        self, site: Site, names: tuple[str, ...], *,
        of: Annotated[DepthSpec, "the program of which some is run: the loops of one block, or blocks in a row"]
        = Spec("depth", "shared"),
        least: Annotated[Count, "how many training runs at least"] = 1,
        usual: Annotated[Count, "how many run outside training; none: all"] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.of = site.build("of", of, names)
        if type(self.of).forward is not Depth.forward and not isinstance(self.of, Shared):
            raise UsageError(f"depth:sampled runs some of what is always the same, and depth:{of.name} is not")
        count = sum(loops for _, loops in self.of.plan())
        for name, value in (("least", least), ("usual", usual or 1)):
            if value > max(1, count):
                raise UsageError(f"{site.path}: {name}={value} is more than depth:{of.name} has, which is {count}")
        self.least, self.usual, self.count = least, usual or count, count

    def plan(self) -> list[tuple[str, int]]:
        return self.of.plan()

    def laid(self, names: tuple[str, ...]) -> Spec:
        kept = self.of.laid(names)
        few = {name: min(self.spec.get(name), len(names)) for name in ("least", "usual") if self.spec.get(name)}
        return self.spec.but(of=kept, **few)

    def runs(self) -> list[float]:
        """How often each block runs at a step of training, on average."""
        choices = self.count - self.least + 1
        chance = [1.0 if i < self.least else (self.count - i) / choices for i in range(self.count)]
        ends = list(accumulate((loops for _, loops in self.plan()), initial=0))
        return [sum(chance[a:b]) for a, b in pairwise(ends)]

    def number(self, call: Any) -> int:
        """How many this forward runs."""
        if not call.training:
            return self.usual
        if call.positions.is_meta:
            return self.count
        # of the whole step: the same for all pieces of a batch
        drawn = float(call._replace(micro_batch=0).uniform(self.path, ()))
        return self.least + int(drawn * (self.count - self.least + 1))

    def forward(self, flow: Any, run: Any) -> Any:
        signal = getattr(self.of, "signal", None)
        units = [(steps, loop) for steps, (_, loops) in zip(self.blocks, self.plan()) for loop in range(loops)]
        for steps, loop in units[: self.number(flow.call)]:
            if signal is not None:
                flow = flow._replace(carry=signal.at_input(flow.x, flow.call._replace(loop=loop)), rule=None)
            for step in steps:
                flow = run(flow, step, loop)
        return flow
