"""What a family of functions promises, on draws of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from blockyard.core.claims import Verdict
from blockyard.core.draw import Draw
from blockyard.core.registry import Entry
from blockyard.core.settings import check_settings
from blockyard.family._base import Family

ROWS, POINTS, NOISE = 1000, 6, 0.3


def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it; over as many numbers as the first of its variants."""
    dim = entry.load_named().variants[0].get("dim", 4)
    yield from kept(entry.load_named()(dim, **check_settings(entry, settings)))


def kept(family: Family) -> Iterator[Verdict]:
    """The promises of a family that was made."""
    x = family.vectors(Draw(1, ROWS), POINTS)
    values = family.drawn(2, x)
    yield Verdict("a seed gives the same functions again, another one others", _same(family, x, values))
    few = np.array_equal(family.drawn(2, x[:7]), values[:7])
    yield Verdict("the first functions do not depend on how many are drawn", few)
    off = np.einsum("np,nq->npq", values, values) - family.covariance(x, x)
    error = np.sqrt(np.square(off).mean(0) / ROWS)
    worst = float((np.abs(off.mean(0)) / np.maximum(error, 1e-12)).max())
    yield Verdict("its covariance is that of its values", worst < 4.5, f"{worst:.1f} standard errors off")
    variance = float(np.diagonal(family.covariance(x, x), axis1=1, axis2=2).mean())
    yield Verdict("values have variance 1", not family.unit or abs(variance - 1) < 0.05, f"{variance:.3f}")
    y = values + NOISE * Draw(3, ROWS).normal(POINTS)
    given, asked = slice(POINTS - 1), slice(POINTS - 1, POINTS)
    said = family.posterior(x[:, given], y[:, given], x[:, asked], NOISE)[1]
    turned = family.posterior(x[:, given][:, ::-1], y[:, given][:, ::-1], x[:, asked], NOISE)[1]
    yield Verdict("the order of the examples changes nothing", float(np.abs(said - turned).max()) < 1e-8)
    wrong = np.square(values[:, asked] - said)
    linear = np.square(values[:, asked] - Family.posterior(family, x[:, given], y[:, given], x[:, asked], NOISE)[1])
    best = float((wrong - linear).mean()) <= 3 * float((wrong - linear).std()) / ROWS**0.5 + 1e-12
    yield Verdict("its posterior is no worse than the best that is linear in y", best)


def _same(family: Family, x: np.ndarray, values: np.ndarray) -> bool:
    return np.array_equal(family.drawn(2, x), values) and not np.array_equal(family.drawn(4, x), values)
