"""All systems and how far each one is."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer, chosen, columns

EXAMPLE = "blockyard catalogue --json"


def options(add: Callable[..., Any]) -> None:
    add("--family", help="only those of this family")
    add("--status", help="planned, draft, checked, matched or raced")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.catalogue import catalogue

    rows = chosen([row.to_json() for row in catalogue()], family=options.family, status=options.status)
    return rows, columns(rows, "slug", "status", "title")
