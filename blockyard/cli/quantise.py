"""Keep a trained model's matrices in 8 or 4 bits."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer, is_
from blockyard.core import numbers

EXAMPLE = "blockyard quantise my-model --bits 4 --out my-small-model"
RENAMED = {"--wide": "--int8"}


def options(add: Callable[..., Any]) -> None:
    add("model", help=MODEL)
    add("--bits", type=is_(numbers.BITS), default=8, help="8 (default) or 4 a number")
    add("--group", type=is_(numbers.GROUP), default=32, help="numbers that share a scale: 32 (default) or 64")
    add("--keep", action="append", default=[], metavar="PATTERN", help="parts that stay as they are, by path: head, "
        "*.down; may be repeated")  # fmt: skip
    add("--int8", action="append", default=[], metavar="PATTERN", help="parts that take 8 bits; may be repeated")
    add("--out", required=True, help="the folder of the small model")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.saved.quantise import quantise_folder

    coverage = quantise_folder(options.model, options.out, options.bits, options.group, options.keep, options.int8)
    return vars(coverage) | {"model": options.out}, f"{coverage}\n{options.out} is a model like any other"
