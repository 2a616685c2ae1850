"""The contract of an environment: a few states, what each looks like, and what can come of every action.

    starts()                    (m,k) the states that it begins in, each as likely
    outcomes(state, action)     of states (n,k) and actions (n,): all that can come of it, each with its chance
    sight(state)                (n,) what is seen there, 0 to sights - 1

Rewards are whole numbers, an episode ends by itself or after `steps` actions. What was seen and done must tell the
state (of two outcomes of an action, and of two starts, no two look alike), so that who remembers all can act best. From
this alone follow a table of all states, the best plan, and episodes in numpy, thousands at once
(`blockyard.environment._table`).

The settings are the keyword-only arguments of its constructor, kept under their names.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from blockyard.core.settings import called
from blockyard.core.spec import write_value


class Outcomes(NamedTuple):
    """What can come of an action, O things: chance (n,O) of sum 1, state (n,O,k), reward (n,O) whole, ended (n,O)."""

    chance: np.ndarray
    state: np.ndarray
    reward: np.ndarray
    ended: np.ndarray


class Environment(ABC):
    """What every environment has.

    actions, sights, steps   how many actions there are, things to be seen, and actions of the longest episode
    optimum    the best mean return, where it is known by thought
    variants   the settings with which it is held to what it promises
    """

    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    actions: int
    sights: int
    steps: int

    @property
    def optimum(self) -> float | None:
        """The best mean return, where it is known by thought."""
        return None

    @abstractmethod
    def starts(self) -> np.ndarray:
        """(m,k) int64 the states that an episode begins in, each as likely."""

    @abstractmethod
    def outcomes(self, state: np.ndarray, action: np.ndarray) -> Outcomes:
        """What can come of actions (n,) in states (n,k)."""

    @abstractmethod
    def sight(self, state: np.ndarray) -> np.ndarray:
        """(n,) int64 what is seen in states (n,k)."""

    @property
    def name(self) -> str:
        """The name of its file."""
        return type(self).__module__.rpartition(".")[2]

    def __repr__(self) -> str:
        """The environment as `make_environment` reads it."""
        names = inspect.signature(type(self).__init__).parameters.values()
        inside = [f"{p.name}={write_value(getattr(self, p.name))}" for p in names if p.kind is p.KEYWORD_ONLY]
        return f"{self.name}({','.join(inside)})" if inside else self.name


def make_environment(text: str) -> Environment:
    """The environment of `name` or `name(key=value,key=value)`."""
    entry, settings = called("environment", text)
    return entry.load_named()(**settings)
