"""Make one model of several that have the same spec: means, arcs, what each learned added to a base."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer

EXAMPLE = "blockyard merge first second --with ties:density=0.2 --base before --out both"


def options(add: Callable[..., Any]) -> None:
    add("model", nargs="+", help=MODEL)
    add("--with", dest="how", default="linear", metavar="NAME[:KEY=VALUE,...]", help="how their numbers are mixed "
        "(default linear: the mean; see: blockyard list blend)")  # fmt: skip
    add("--base", metavar="MODEL", help="the model that all of them were trained from, for what adds changes to it")
    add("--out", required=True, help="the folder of the one model")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.saved.merge import merge_folders

    merge_folders(options.model, options.how, options.out, options.base)
    told = {"model": options.out, "of": options.model, "with": options.how}
    return told, f"{options.out} is a model like any other, of {len(options.model)}"
