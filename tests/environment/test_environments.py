"""Every environment keeps what all promise, and one that lies is caught."""

import numpy as np
import pytest

from blockyard.core import UsageError, registry
from blockyard.environment._base import Outcomes, make_environment
from blockyard.environment._check import kept
from blockyard.environment.gridworld import Gridworld
from blockyard.environment.t_maze import TMaze

EVERY = [
    (name, dict(each))
    for name, entry in registry.entries("environment").items()
    for each in entry.load_named().variants
]


def complaints(environment):
    return [verdict.claim for verdict in kept(environment) if not verdict.ok]


@pytest.mark.parametrize("name, settings", EVERY, ids=str)
def test_an_environment_keeps_its_promises(name, settings):
    environment = registry.find("environment", name).load_named()(**settings)
    assert complaints(environment) == []
    assert repr(make_environment(repr(environment))) == repr(environment)


class Generous(TMaze):
    @property
    def optimum(self):
        return 2.0


class Blind(TMaze):
    """The word is not shown."""

    def sight(self, state):
        return np.where(state[:, 0] == self.length, 3, 2)


class Leaking(Gridworld):
    def outcomes(self, state, action):
        found = super().outcomes(state, action)
        return Outcomes(found.chance / 2, *found[1:])


class Fractions(Gridworld):
    def outcomes(self, state, action):
        found = super().outcomes(state, action)
        return found._replace(reward=found.reward / 2)


@pytest.mark.parametrize("lies, caught", [
    (Generous, "its optimum is that of dynamic programming"), (Blind, "what was seen and done tells the state"),
    (Leaking, "chances sum to 1"), (Fractions, "rewards are whole, sights in their range"),
])  # fmt: skip
def test_an_environment_that_lies_is_caught(lies, caught):
    assert caught in complaints(lies())


@pytest.mark.parametrize("text, says", [
    ("t_maze(length=0)", "length=0"), ("t_maze(size=3)", "size"), ("t_mase", "t_maze"), ("t_maze(length=3", "open"),
])  # fmt: skip
def test_what_there_is_not_is_refused(text, says):
    with pytest.raises(UsageError, match=says):
        make_environment(text)
