"""The names of recipes, or of parts of a kind."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer, chosen, columns
from blockyard.core.errors import unknown

EXAMPLE = "blockyard list mixer"


def options(add: Callable[..., Any]) -> None:
    add("kind", nargs="?", default="recipe", help="recipe (default), task, study, mixer, ...")
    add("--family", help="only those of this family")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.core import registry

    kinds = (*registry.KINDS, *registry.ROOMS)
    if options.kind not in kinds:
        raise unknown("kind", options.kind, kinds)
    entries = registry.entries(options.kind).values()
    rows = [{"name": e.name, "title": e.title, "family": e.header.get("Family")} for e in entries]
    rows = chosen(rows, family=options.family)
    return rows, columns(rows, "name", "title")
