"""Show a finished comparison or judgement again, its page written anew; of several folders all on one page."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer
from blockyard.core.errors import UsageError

EXAMPLE = "blockyard report blockyard-out/llama-gla"


def options(add: Callable[..., Any]) -> None:
    add("folder", nargs="+", help="the folder of a comparison, or of a judgement that was kept with --out; several "
        "stand side by side on one page")  # fmt: skip
    add("--out", help="of several: the folder of that page (default: blockyard-out/ and their names)")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.compare.kept import report, several

    if len(options.folder) == 1 and options.out:
        raise UsageError("--out is for several folders; of one the page lies where it is")
    found = report(*options.folder) if len(options.folder) == 1 else several(options.folder, options.out)
    return found.to_json(), str(found)
