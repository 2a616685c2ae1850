"""Which recipes stand for all: the fewest, found greedily, that together have every part of every recipe.

A suite that runs once a recipe runs these in `make test` and the others, marked slow, in `make test-all`.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest

import blockyard as by


@cache
def representatives() -> tuple[str, ...]:
    """Recipes until no part is missing, the one with most missing parts next."""
    parts = {name: {(s.kind, s.name) for s in by.spec(name, "tiny").walk()} for name in by.recipes()}
    missing, chosen = set[tuple[str, str]]().union(*parts.values()), []
    while missing:
        chosen.append(max(parts, key=lambda name: len(parts[name] & missing)))
        missing -= parts[chosen[-1]]
    return tuple(chosen)


def each(names: Iterable[str], few: int | None = None) -> list[Any]:
    """Names for `parametrize`: of recipes all but the representatives, or but the first `few` of them, are slow."""
    fast = representatives()[:few]
    slow = set(by.recipes()) - set(fast)
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]
