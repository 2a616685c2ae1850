"""What tasks of recorded episodes share: who played them, how they are written, what is scored.

An episode is played by the best plan, by the worst one, or by chance, as the shares say. The exams ask for what the
best plan does, on its own episodes. A row counts as right when every action is: in a world where nothing is drawn but
the start, that is when the model, acting by itself, would do all that the best plan does.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from blockyard.environment._base import make_environment
from blockyard.environment._table import Table
from blockyard.task._base import Draw, Examples, Predictor, Task, blank, fits
from blockyard.task._metric import Metric


class Recorded(Task):
    """Rows of episodes; `wide`: ids of a step, of which the last but one is what was seen and the last the action."""

    grows = ()
    exact = False
    wide = 2

    def __init__(self, environment: str, best: float, worst: float) -> None:
        fits(best + worst <= 1 + 1e-9, f"{self.name}: best={best} and worst={worst} are shares: their sum is at most 1")
        self.environment, self.best, self.worst = environment, best, worst
        self.world = make_environment(environment)
        self.table = Table.of(self.world)
        self.plans = self.table.plan(), self.table.plan(best=False)
        self.steps, first = self.world.steps, self.world.actions
        self.low = self.steps * min(0, int(self.table.reward.min()))  # of the rewards of an episode
        self.sums = self.steps * max(0, int(self.table.reward.max())) - self.low + 1
        self.first_sight, self.first_sum = first, first + self.world.sights
        self.blank = self.first_sum + (self.sums if self.wide == 3 else 0)
        self.vocab, self.answers, self.length = self.blank + 1, range(first), self.wide * self.steps - 1

    @property
    def scored_on(self) -> Task:
        return self if self.best == 1 else self.but(best=1.0, worst=0.0)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        luck = draw.uniform(1)[:, 0]
        who = (luck > self.best).astype(np.int64) + (luck > self.best + self.worst)
        any_action = draw.below(self.world.actions, self.steps)

        def act(t: int, state: np.ndarray, seen: np.ndarray, done: np.ndarray) -> np.ndarray:
            each = [*(plan.action[t, state] for plan in self.plans), any_action[:, t]]
            return np.stack(each)[who, np.arange(n)]

        played = self.table.play(act, draw)
        lines = [self.first_sum + played.togo - self.low, self.first_sight + played.seen, played.action][-self.wide :]
        tokens = np.where(played.alive[..., None], np.stack(lines, 2), self.blank).reshape(n, -1)[:, :-1]
        targets = blank(tokens)
        targets[:, self.wide - 2 :: self.wide] = np.where(played.alive, played.action, -1)
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T) the likeliest action of whoever of the three plays, by what was done so far."""
        n, actions, rows = len(tokens), self.world.actions, np.arange(len(tokens))
        lines = np.concatenate([tokens, np.full((n, 1), -1)], 1).reshape(n, self.steps, self.wide)
        state = self.table.follow(lines[..., -2] - self.first_sight, lines[..., -1])
        likely = np.array([self.best, self.worst, max(0.0, 1 - self.best - self.worst)]) * self._promised(lines, state)
        found = np.zeros_like(tokens)
        for t in range(self.steps):
            plans = [plan.action[t, state[:, t]] for plan in self.plans]
            chance = np.repeat(likely[:, 2:] / actions, actions, 1)
            for who, plan in enumerate(plans):
                chance[rows, plan] += likely[:, who]
            found[:, self.wide * t + self.wide - 2] = chance.argmax(1)
            agree = [plan == lines[:, t, -1] for plan in plans]
            likely = likely * np.stack([*agree, np.full(n, 1 / actions)], 1)
        return found

    def _promised(self, lines: np.ndarray, state: np.ndarray) -> np.ndarray:
        """(n,3) how likely what is promised at the first step is for each who plays."""
        return np.ones((len(lines), 3))

    def questions(self, targets: np.ndarray) -> np.ndarray:
        return np.ones(len(targets), np.int64)

    def amounts(self, said: Mapping[str, Any], targets: Any) -> Any:
        ids = said["ids"] if "ids" in said else said["logits"].argmax(-1)
        return ((ids != targets) & (targets >= 0)).any(1)

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,3) rows with a wrong action; wrong actions; actions."""
        ids, asked = np.asarray(said["ids"] if "ids" in said else said["logits"].argmax(-1)), examples.targets >= 0
        wrong = (ids != examples.targets) & asked
        return np.stack([wrong.any(1), wrong.sum(1), asked.sum(1)], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        """The share of single actions."""
        return (Metric("wrong actions", "error rate", "lower", 0.0, 1.0),)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        return {"wrong actions": float(sums[1] / sums[2])}

    def described(self) -> str:
        return f"{self.length} tokens of {self.vocab} kinds an episode of {self.world!r}, nearly all wrong by chance"

    def baselines(self) -> dict[str, Predictor]:
        return {"the last action": self._last}

    def _last(self, tokens: np.ndarray) -> np.ndarray:
        """The action before, 0 at the first step."""
        found = np.zeros_like(tokens)
        at = slice(2 * self.wide - 2, None, self.wide)
        before = tokens[:, self.wide - 1 :: self.wide]
        found[:, at] = before[:, : found[:, at].shape[1]]
        return found
