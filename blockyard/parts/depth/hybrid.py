"""Blocks of several kinds in a pattern that repeats until all layers are laid.

    "3*gated_deltanet + attention", layers=8  ->  g g g a g g g a
    "2*(mamba + mlp) + attention"             ->  m f m f a

Shapes   x (B,T,D)
Source   arXiv 2406.07887    Family  depth
Differs  nothing known
"""

import re
from typing import Annotated

from blockyard.core import Depth, Site, Spec, UsageError
from blockyard.core.errors import brief, unknown
from blockyard.core.settings import Depths, Word


class Hybrid(Depth):
    claims = dict(per_token=True, row_independent=True)
    variants = (dict(pattern="2*layer"),)

    def __init__(
        self,
        site: Site,
        names: tuple[str, ...],
        *,
        pattern: Annotated[Word, "block names with +, n* and parentheses, repeated until all layers are laid"],
        layers: Annotated[Depths, "how many blocks; none: one period"] | None = None,
    ) -> None:
        super().__init__()
        period = parse(pattern)
        for name in period:
            if name not in names:
                raise unknown("block in the pattern", name, names)
        count = layers or len(period)
        self.names = [period[i % len(period)] for i in range(count)]

    def laid(self, names: tuple[str, ...]) -> Spec:
        return Spec.of("depth", "hybrid", {"pattern": " + ".join(names)})

    def plan(self) -> list[tuple[str, int]]:
        return [(name, 1) for name in self.names]


def parse(pattern: str) -> list[str]:
    """The block names of a pattern of names, `+`, `n*` and parentheses."""
    words = re.findall(r"\w+|[*+()]", pattern)
    if "".join(words) != re.sub(r"\s", "", pattern):
        raise UsageError(f"pattern {brief(repr(pattern))}: only names, numbers, *, + and parentheses are known")
    try:
        names = _sum(words)
    except ValueError:
        names = []
    if words or not names:
        raise UsageError(f"pattern {brief(repr(pattern))} is not complete; for example: 3*gated_deltanet + attention")
    return names


def _sum(words: list[str]) -> list[str]:
    names = _term(words)
    while words and words[0] == "+":
        words.pop(0)
        names = names + _term(words)
    return names


def _term(words: list[str]) -> list[str]:
    times = 1
    if len(words) > 1 and words[0].isdecimal() and words[1] == "*":
        times = int(words.pop(0))
        words.pop(0)
    if words and words[0] == "(":
        words.pop(0)
        names = _sum(words)
        if words and words.pop(0) == ")":
            return names * times
    elif words and re.match(r"[a-zA-Z_]", words[0]):
        return [words.pop(0)] * times
    raise ValueError("a name or a closed parenthesis is missing here")
