"""All states of an environment in one table: plans by dynamic programming, exact returns, episodes at any number.

    V_steps = 0        V_t(s) = max_a sum_o chance (reward + V_{t+1}(s'))        nothing is added behind an end

Shapes   S states, A actions, O outcomes, H steps    chance, after, reward, ended (S,A,O)    value (H+1,S), action (H,S)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError
from blockyard.environment._base import Environment

MOST = 20_000  # states


class Plan(NamedTuple):
    """value (H+1,S) of being in a state after so many actions, action (H,S): the first of those that reach it."""

    value: np.ndarray
    action: np.ndarray


class Episodes(NamedTuple):
    """What was seen, done and got at each step (n,H), and whether the episode still ran."""

    seen: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    alive: np.ndarray

    @property
    def togo(self) -> np.ndarray:
        """(n,H) the sum of this reward and all later ones."""
        return self.reward[:, ::-1].cumsum(1)[:, ::-1]


Act = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # step, state, seen (n,t+1), done (n,t) -> (n,)


@dataclass(frozen=True, eq=False)
class Table:
    """The states that can be reached, by number: where episodes start, what is seen, and all that can happen."""

    starts: np.ndarray
    seen: np.ndarray
    chance: np.ndarray
    after: np.ndarray
    reward: np.ndarray
    ended: np.ndarray
    steps: int

    @staticmethod
    def of(environment: Environment) -> "Table":
        """Every state that can be reached in its steps."""
        known: dict[bytes, int] = {}
        states: list[np.ndarray] = []

        def number(each: np.ndarray) -> int:
            key = each.astype(np.int64).tobytes()
            if key not in known:
                known[key] = len(states)
                states.append(each)
            return known[key]

        starts, rows, done = np.array([number(each) for each in environment.starts()]), [], 0
        for _ in range(environment.steps):
            fresh, done = np.array(states[done:]), len(states)
            if not len(fresh):
                break
            if done > MOST:
                raise UsageError(f"{environment!r} has more than {MOST} states; make it smaller")
            found = [environment.outcomes(fresh, np.full(len(fresh), a)) for a in range(environment.actions)]
            chance, state, reward, ended = (np.stack(each, 1) for each in zip(*found, strict=True))
            after = np.zeros(chance.shape, np.int64)
            for place in zip(*np.nonzero(chance > 0)):
                after[place] = number(state[place])
            rows.append((chance, after, reward, ended))
        chance, after, reward, ended = (np.concatenate(each) for each in zip(*rows, strict=True))
        room = [(0, len(states) - len(chance)), (0, 0), (0, 0)]  # states that only the last step reaches
        chance, after, reward = (np.pad(each, room) for each in (chance, after, reward))
        ended = np.pad(ended, room, constant_values=True)
        return Table(starts, environment.sight(np.array(states)), chance, after, reward, ended, environment.steps)

    def plan(self, best: bool = True) -> Plan:
        """The plan of the most return, or of the least."""
        value = np.zeros((self.steps + 1, len(self.seen)))
        action = np.zeros((self.steps, len(self.seen)), np.int64)
        for t in reversed(range(self.steps)):
            worth = (self.chance * (self.reward + ~self.ended * value[t + 1][self.after])).sum(2)
            value[t] = worth.max(1) if best else worth.min(1)
            action[t] = (np.abs(worth - value[t][:, None]) < 1e-9).argmax(1)  # what differs by rounding alone is equal
        return Plan(value, action)

    def worth(self, policy: np.ndarray) -> float:
        """The exact mean return of who does each action with a chance that what is seen alone decides, (sights,A)."""
        value, chance = np.zeros(len(self.seen)), policy[self.seen]
        for _ in range(self.steps):
            value = (chance[..., None] * self.chance * (self.reward + ~self.ended * value[self.after])).sum((1, 2))
        return float(value[self.starts].mean())

    def play(self, act: Act, draw: Draw) -> Episodes:
        """An episode a row; `act` is told the step, the state, what was seen and what was done."""
        n, rows = draw.rows, np.arange(draw.rows)
        state = self.starts[draw.below(len(self.starts))]
        luck, alive = draw.uniform(self.steps), np.ones(n, bool)
        seen, done, reward, alives = (np.zeros((n, self.steps), np.int64) for _ in range(4))
        for t in range(self.steps):
            seen[:, t], alives[:, t] = self.seen[state], alive
            done[:, t] = act(t, state, seen[:, : t + 1], done[:, :t])
            here = state, done[:, t]
            which = (luck[:, t, None] > self.chance[here].cumsum(1)[:, :-1]).sum(1)
            reward[:, t] = np.where(alive, self.reward[here][rows, which], 0)
            alive = alive & ~self.ended[here][rows, which]
            state = np.where(alive, self.after[here][rows, which], state)
        return Episodes(seen, done, reward, alives.astype(bool))

    def follow(self, seen: np.ndarray, done: np.ndarray) -> np.ndarray:
        """(n,H) the states that what was seen (n,H) and done (n,H) tell; where it cannot be, any."""
        state = np.zeros(seen.shape, np.int64)
        state[:, 0] = self.starts[(self.seen[self.starts] == seen[:, :1]).argmax(1)]
        for t in range(1, seen.shape[1]):
            here = state[:, t - 1], np.clip(done[:, t - 1], 0, self.chance.shape[1] - 1)
            fits = (self.seen[self.after[here]] == seen[:, t, None]) & (self.chance[here] > 0)
            state[:, t] = np.where(fits.any(1), self.after[here][np.arange(len(seen)), fits.argmax(1)], state[:, t - 1])
        return state
