"""Do what was done: episodes as they were played, each action asked from what was seen and done before it.

    o_0 a_0 o_1 a_1 ...          asked at o_t: a_t        o: what is seen        behind the end: blanks

`best` of the episodes are of the best plan, `worst` of the worst one, the rest is by chance. The exams ask for the best
plan, so what is scored is what imitation makes of its teachers.

Shapes   ids: actions, sights, blank    T = 2 steps - 1    chance 1/actions
Source   arXiv 2307.05979    Slug  rl-survey    Family  acting
Tags     agent=imitation, data=offline
Differs  episodes are played by plans of dynamic programming (our reading); the score is the share of episodes with any
         wrong action
"""

from typing import Annotated

from blockyard.core.settings import Fraction, Word
from blockyard.task._episodes import Recorded


class Cloning(Recorded):
    variants = (
        {}, dict(environment="gridworld(size=4)", best=0.5, worst=0.2), dict(environment="bandits(arms=2,steps=6)"),
    )  # fmt: skip
    first = "f758e4d6fe67"

    def __init__(
        self, *,
        environment: Annotated[Word, "where: an environment, with its settings in brackets"] = "t_maze(length=6)",
        best: Annotated[Fraction, "the share of episodes by the best plan"] = 1.0,
        worst: Annotated[Fraction, "the share of episodes by the worst plan"] = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(environment, best, worst)
