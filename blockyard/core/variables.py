"""A stream of variables side by side, the choices that programs make among them, and how they are told as Python.

    x = [c_1 | ... | c_n | numbers]        c one-hot of v values, or zeros: none        numbers: one channel each

The stem's stream holds categorical variables alone; behind it stands what steps have written (`residual:append`): of an
axis `heads x values` so many variables, of any other axis so many numbers.

    choice   while training softmax((logits + Gumbel noise) / tau), else the one-hot argmax
    tau      hot (cold / hot)^progress

Source   arXiv 2306.01128    Slug  transformer-programs
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from blockyard.core.axis import Cat, Expr, Prod
from blockyard.core.call import Call
from blockyard.core.errors import UsageError

LEAST = 2.0**-26  # of what is drawn, since the logarithm of 0 is no number


class Layout(NamedTuple):
    """Where variables of `values` values begin in a stream, and which channels are numbers."""

    values: int
    categorical: tuple[int, ...]
    numbers: tuple[int, ...]

    def variables(self, x: Tensor) -> Tensor:
        """(...,n,v) the categorical variables of x (...,D)."""
        return torch.stack([x[..., at : at + self.values] for at in self.categorical], -2)

    def amounts(self, x: Tensor) -> Tensor:
        """(...,1+m) a one, and the numbers of x (...,D)."""
        return torch.cat([torch.ones_like(x[..., :1]), *[x[..., at : at + 1] for at in self.numbers]], -1)


def layout(stream: Expr, values: int, where: str) -> Layout:
    """How a stream is laid; `where`: who asks, in words for an error."""
    categorical, numbers, at = list[int](), list[int](), 0
    for place, part in enumerate(stream.parts if isinstance(stream, Cat) else (stream,)):
        own = part.size if place == 0 else part.parts[-1].size if isinstance(part, Prod) else None
        if own is None:
            numbers.extend(range(at, at + part.size))
        elif own % values or (place and own != values):
            raise UsageError(f"{where}: variables of {values} values do not fill {own} channels of the stream")
        else:
            categorical.extend(range(at, at + part.size, values))
        at += part.size
    return Layout(values, tuple(categorical), tuple(numbers))


def temperature(hot: float, cold: float, progress: float) -> float:
    """tau when this share of a run is done."""
    return hot * (cold / hot) ** min(1.0, max(0.0, progress))


def first_of(logits: Tensor) -> Tensor:
    """(...,n) a one at the largest of each row (...,n), at the first of equal ones; else zeros."""
    return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)


def choice(logits: Tensor, call: Call, path: str, hot: float, cold: float) -> Tensor:
    """(...,n) which of n, by logits (...,n): soft while training and ever less so, else certain."""
    if not call.training:
        return first_of(logits)
    drawn = call.uniform(path, tuple(logits.shape)).clamp(min=LEAST)
    noise = -(-drawn.log()).log()  # before it is narrowed: half a precision makes a one of what is near it
    return ((logits + noise.to(logits.dtype)) / temperature(hot, cold, call.progress)).softmax(-1)


class Names(NamedTuple):
    """What variables are called in a program, in the order of the stream: categorical ones, and numbers."""

    categorical: Sequence[str] = ()
    numbers: Sequence[str] = ()


class Told(NamedTuple):
    """Lines of Python that make new variables, lists of one value a token, and what these are called."""

    lines: list[str]
    names: Names


class Programmed(ABC):
    """What can be told as a program. Its lines may call

        latest(wanted, keys, values)    of each token the value at the last token before it whose key is wanted, else at
                                        itself where its own is, else at the first
        count(wanted, keys, values)     of each token the sum of the values at all tokens whose key is wanted

    among the tokens that it sees; a variable without a value is None, and no key is wanted by it.
    """

    @abstractmethod
    def told(self, known: Names, step: int) -> Told:
        """The lines of this part as it is outside training; `step`: its place, for names."""

    def certain(self) -> dict[str, Tensor]:
        """The parameters that are logits of choices, by attribute, with all doubt taken out: 20 for what is chosen,
        -20 for the rest."""
        return {}


def sure(logits: Tensor) -> Tensor:
    """Logits (...,n) of a choice that leave no doubt."""
    return 40 * first_of(logits) - 20
