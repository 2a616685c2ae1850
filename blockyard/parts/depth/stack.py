"""One block, so many times, each with its own parameters.

    x -> block_1 -> block_2 -> ... -> block_layers

Shapes   x (B,T,D)
Source   none    Family  depth
Differs  nothing known
"""

from blockyard.core import Depth, Site, Spec, UsageError
from blockyard.core.settings import Layers


class Stack(Depth):
    claims = dict(per_token=True, row_independent=True)

    def __init__(self, site: Site, names: tuple[str, ...], *, layers: Layers = 2) -> None:
        super().__init__()
        if len(names) != 1:
            raise UsageError(f"depth:stack repeats one block, given {', '.join(names)}; depth:hybrid takes several")
        self.name, self.layers = names[0], layers

    def laid(self, names: tuple[str, ...]) -> Spec:
        if len(set(names)) == 1:
            return Spec.of("depth", "stack", {"layers": len(names)})
        return Spec.of("depth", "hybrid", {"pattern": " + ".join(names)})

    def plan(self) -> list[tuple[str, int]]:
        return [(self.name, 1)] * self.layers
