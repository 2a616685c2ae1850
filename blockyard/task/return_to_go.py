"""Do what gets so much: episodes with the rewards that are still to come before each action.

    g_0 o_0 a_0 g_1 o_1 a_1 ...          asked at o_t: a_t        g_t = r_t + r_{t+1} + ...        o: what is seen

`best` of the episodes are of the best plan, `worst` of the worst one, the rest is by chance. The exams promise what the
best plan gets and ask for its actions: whoever reads the promise does well, even where few did.

Shapes   ids: actions, sights, sums of rewards, blank    T = 3 steps - 1    chance 1/actions
Source   arXiv 2106.01345    Slug  rl-survey    Family  acting
Tags     agent=return-conditioned, data=offline
Differs  one id a sum of rewards, which are whole numbers; whole episodes, so no time has to be told
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Fraction, Word
from blockyard.task._episodes import Recorded


class ReturnToGo(Recorded):
    wide = 3
    variants = (
        {}, dict(environment="t_maze(length=5)"), dict(environment="bandits(arms=2,steps=5)", best=0.5, worst=0.5),
    )  # fmt: skip
    first = "5ce7188ba09a"

    def __init__(
        self, *,
        environment: Annotated[Word, "where: an environment, with its settings in brackets"] = "gridworld(size=4)",
        best: Annotated[Fraction, "the share of episodes by the best plan"] = 0.3,
        worst: Annotated[Fraction, "the share of episodes by the worst plan"] = 0.4,
    ) -> None:  # fmt: skip
        super().__init__(environment, best, worst)

    def _promised(self, lines: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Of a plan whose return nothing can change: 1 where it gets what is promised, else 0; all else is open."""
        found = super()._promised(lines, state)
        if (self.table.chance.max(2) >= 1)[self.table.chance.sum((1, 2)) > 0].all():
            for who, plan in enumerate(self.plans):
                found[:, who] = np.abs(plan.value[0][state[:, 0]] - (lines[:, 0, 0] - self.first_sum + self.low)) < 0.5
            found[:, 2] = 1 / self.sums
        return found
