"""Make another model of a trained one: fewer bits, fewer steps, fewer channels."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer

EXAMPLE = "blockyard transform my-model gptq:bits=4 --data my.txt --out my-small-model"


def options(add: Callable[..., Any]) -> None:
    add("model", help=MODEL)
    add("transform", nargs="+", metavar="NAME[:KEY=VALUE,...]", help="what becomes of it, in order (see: blockyard "
        "list transform)")  # fmt: skip
    add("--data", action="append", default=[], help="a text to fit to, of which the training part is shown; may be "
        "given several times (default: the texts of CPython itself)")  # fmt: skip
    add("--out", required=True, help="the folder of the other model")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.saved.transform import transform_folder

    made = transform_folder(options.model, options.transform, options.out, options.data)
    return made.to_json(), f"{made}\n{options.out} is a model like any other"
