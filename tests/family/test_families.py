"""Every family of functions keeps what all promise, and a family that lies is caught."""

import numpy as np
import pytest

from blockyard.core import registry
from blockyard.core.draw import Draw
from blockyard.family._base import make_family
from blockyard.family._check import kept
from blockyard.family.centres import Centres
from blockyard.family.dense import Dense

FAMILIES = [
    (name, dict(each)) for name, entry in registry.entries("family").items() for each in entry.load_named().variants
]


def complaints(family):
    return [verdict.claim for verdict in kept(family) if not verdict.ok]


def made(name, dim, **settings):
    return registry.find("family", name).load_named()(dim, **settings)


@pytest.mark.parametrize("name, settings", FAMILIES, ids=str)
def test_a_family_keeps_its_promises(name, settings):
    family = made(name, **settings)
    assert complaints(family) == []
    again = make_family(repr(family), family.dim)
    assert repr(again) == repr(family) and again.settings == family.settings


@pytest.mark.parametrize("name, settings", FAMILIES, ids=str)
def test_an_exact_posterior_is_that_of_its_evidence(name, settings):
    """The mean is what the evidence says of one more y: its slope, as the density of y is known around the mean."""
    family, noise = made(name, **settings), 0.4
    x = family.vectors(Draw(0, 3), 4)
    y = family.drawn(1, x) + noise * Draw(2, 3).normal(4)
    if not family.known:
        return
    grid = np.linspace(-40, 40, 4001)
    said = family.posterior(x[:, :3], y[:, :3], x[:, 3:], noise)[1][:, 0]
    for row in range(3):
        given = np.concatenate([np.repeat(y[row : row + 1, :3], len(grid), 0), grid[:, None]], 1)
        at = np.repeat(x[row : row + 1], len(grid), 0)
        logs = family.posterior(at, given, at[:, :1], noise)[0]
        weights = np.exp(logs - logs.max())
        assert abs((weights * grid).sum() / weights.sum() - said[row]) < 1e-6


class Shrunk(Dense):
    """Half as large as it says."""

    def values(self, draw, x):
        return super().values(draw, x) / 2


class Loud(Dense):
    def values(self, draw, x):
        return 2 * super().values(draw, x)

    def covariance(self, x, z):
        return 4 * super().covariance(x, z)


class Whole(Dense):
    """Draws that depend on how many rows there are."""

    def drawn(self, seed, x):
        return super().drawn(seed + len(x), x)


class Forgetful(Centres):
    """Its posterior leaves out all but the last example."""

    def posterior(self, x, y, queries, noise):
        return super().posterior(x[:, -1:], y[:, -1:], queries, noise)


@pytest.mark.parametrize(
    "double, caught",
    [
        (Shrunk, "its covariance is that of its values"), (Loud, "values have variance 1"),
        (Whole, "the first functions do not depend on how many are drawn"),
        (Forgetful, "the order of the examples changes nothing"),
        (Forgetful, "its posterior is no worse than the best that is linear in y"),
    ],
)  # fmt: skip
def test_a_family_that_lies_is_caught(double, caught):
    assert caught in complaints(double(4))
