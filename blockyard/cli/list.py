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
    add("--tag", metavar="AXIS=VALUE", help="only those with this tag, as memory=matrix")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.core import registry

    kinds = (*registry.KINDS, *registry.ROOMS)
    if options.kind not in kinds:
        raise unknown("kind", options.kind, kinds)
    entries = registry.entries(options.kind).values()
    rows = [{"name": e.name, "title": e.title, "family": e.header.get("Family"), "tags": e.tags} for e in entries]
    rows = chosen(rows, family=options.family)
    if options.tag is not None:
        axis, _, value = options.tag.partition("=")
        known = {f"{a}={v}" for row in rows for a, v in row["tags"].items()}
        if options.tag not in known:
            raise unknown("tag", options.tag, known)
        rows = [row for row in rows if row["tags"].get(axis) == value]
    return rows, columns(rows, "name", "title")
