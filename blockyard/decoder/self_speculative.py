"""What the model itself writes when some of its steps are left out.

    x_{t+i} ~ q( . | x_1 .. x_{t+i-1})        q the head's distribution behind the chosen steps, in their order

Source   arXiv 2309.08168, 2404.16710 (the first layers only)
Family   proposers
Tags     guesses=itself, draws=yes
Differs  which steps run is said, not searched for; without a word the first half

It reads the state that the model has. The steps left out keep their leaves, and what the others write is thrown away.
"""

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import Steps
from blockyard.decode.past import OnState
from blockyard.decode.propose import Proposal, Proposer, Rows, roll


class SelfSpeculative(Proposer):
    """Tokens of some `steps` of the model itself. `likeliest`: it does not draw, so that a seed writes the same with
    speculation as without."""

    needs_state = True

    def __init__(
        self, steps: Annotated[Steps, "the steps that run; none: the first half of the model's"] | None = None,
        likeliest: Annotated[bool, "whether it takes its likeliest tokens and draws none"] = False,
    ) -> None:  # fmt: skip
        self.steps, self.likeliest = None if steps is None else tuple(steps), likeliest

    def begin(self, rows: int) -> None: ...

    def select(self, lines: list[int]) -> None: ...

    def propose(self, rows: Rows, wanted: list[int]) -> Proposal:
        many = len(rows.model.steps)
        steps = tuple(range(many // 2)) if self.steps is None else self.steps
        outside = [step for step in steps if not 0 <= step < many]
        if outside:
            raise UsageError(f"no steps {outside}: the model's steps go from 0 to {many - 1}")
        assert isinstance(rows.past, OnState)
        state = rows.past.state  # of what runs only: caches that did not grow have no slots for new positions
        own = {place: leaves for place, leaves in state.leaves.items() if _runs(place, steps)}
        return roll(rows.model, rows.pending, replace(state, leaves=own), rows, wanted, self.likeliest, steps)[0]


def _runs(place: Hashable, steps: Iterable[int]) -> bool:
    """Whether the leaves of this place are read: of the ends, and of the first loop of a step that runs."""
    return place in ("stem", "head") or place in [(step, 0) for step in steps]
