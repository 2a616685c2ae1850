"""Several optimisers as one: each steps its own groups of parameters, all of them keep what they know in one place."""

from collections.abc import Callable
from typing import Any

from torch import optim


class Together(optim.Optimizer):
    """What steps groups by the optimisers that they were made for, one after the other."""

    def __init__(self, *made: optim.Optimizer) -> None:
        self.made = made
        super().__init__([group for each in made for group in each.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of each; whose groups are whose is told by their order."""
        first = 0
        for each in self.made:
            last = first + len(each.param_groups)
            each.state, each.param_groups, first = self.state, self.param_groups[first:last], last
            each.step()
