"""Show the outcome of a finished comparison or judgement again, its page and text written anew."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer

EXAMPLE = "blockyard report blockyard-out/llama-gla"


def options(add: Callable[..., Any]) -> None:
    add("out", help="the folder of a comparison, or of a judgement that was kept with --out")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.compare.kept import report

    found = report(options.out)
    return found.to_json(), str(found)
