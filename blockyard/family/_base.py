"""The contract of a family of functions y = f(x): how one is drawn, and what examples tell of it.

    values(draw, x)                    the values (n,P) of one function a row at its vectors x (n,P,d)
    covariance(x, z)                   E f(x) f(z) (n,P,Q) over functions
    posterior(x, y, queries, noise)    log p(y | x) (n,), and the mean of f at the queries given the examples (n,Q)

By itself the posterior is that of a Gaussian process: the exact one where values are jointly normal, elsewhere the best
that is linear in y.

The settings are the keyword-only arguments of its constructor, kept under their names; the numbers of a vector come
first. Values have variance 1 over functions and vectors, whatever the settings are, so that families can be mixed.
Every family draws from a stream of its own, named by `stream`: which others stand beside it changes nothing.
"""

import inspect
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError
from blockyard.core.settings import called
from blockyard.core.spec import write_value
from blockyard.predictor.bayes import of_kernel

Posterior = tuple[np.ndarray, np.ndarray]  # log evidence (n,), means (n,Q)


class Family(ABC):
    """What every family has.

    variants   the settings with which it is held to what it promises, and numbers of a vector that they fit (`dim`)
    known      whether the posterior is the exact one
    unit       whether values have variance 1; elsewhere that of whatever was drawn once
    where      what the numbers of its vectors are
    stream     what names its stream of numbers; empty: its own words
    """

    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    known: ClassVar[bool] = True
    unit: ClassVar[bool] = True
    where: str = "normal"
    stream: ClassVar[str] = ""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    @abstractmethod
    def values(self, draw: Draw, x: np.ndarray) -> np.ndarray:
        """(n,P) the values of a function a row."""

    @abstractmethod
    def covariance(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """(...,P,Q) the mean product of the values at x (...,P,d) and z (...,Q,d) over functions."""

    def posterior(self, x: np.ndarray, y: np.ndarray, queries: np.ndarray, noise: float) -> Posterior:
        """What examples y (n,P) with noise of this deviation tell: how likely they are, and the mean at the queries."""
        return of_kernel(self.covariance(x, x), y, self.covariance(queries, x), noise)

    def vectors(self, draw: Draw, points: int) -> np.ndarray:
        """(n,P,d) where functions are asked: normal numbers."""
        return draw.normal(points, self.dim)

    def drawn(self, seed: int, x: np.ndarray) -> np.ndarray:
        """(n,P) the values of functions of a seed, a row each."""
        return self.values(Draw(seed, len(x), zlib.crc32((self.stream or repr(self)).encode())), x)

    @property
    def name(self) -> str:
        """The name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings by name, as it was made."""
        names = inspect.signature(type(self).__init__).parameters.values()
        return {p.name: getattr(self, p.name) for p in names if p.kind is p.KEYWORD_ONLY}

    def __repr__(self) -> str:
        """The family as `make_family` reads it."""
        inside = ",".join(f"{key}={write_value(value)}" for key, value in self.settings.items())
        return f"{self.name}({inside})" if inside else self.name


def make_family(text: str, dim: int) -> Family:
    """The family of `name` or `name(key=value,key=value)`, over vectors of so many numbers."""
    entry, settings = called("family", text)
    return entry.load_named()(dim, **settings)


def agreed(families: Sequence[Family]) -> str:
    """What the numbers of their vectors are, refused where they differ."""
    kinds = {each.where: each.name for each in families}
    if len(kinds) > 1:
        told = ", ".join(f"those of {name} are {where}" for where, name in kinds.items())
        raise UsageError(f"the vectors of these families differ: {told}; take families that agree")
    return families[0].where
