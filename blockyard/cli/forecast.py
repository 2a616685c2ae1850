"""Forecast what comes after the end of a file, with intervals."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer, is_
from blockyard.core import numbers

EXAMPLE = "blockyard forecast runs/mine:patchtst my.csv"


def options(add: Callable[..., Any]) -> None:
    add("model", help=f"{MODEL}; it was trained on --task forecast")
    add("data", help="a table with the columns that the model was trained on, up to now")
    add(
        "--steps",
        type=is_(numbers.FORECAST),
        help="how many steps ahead (default: as many as the model says; more are rolled out, without intervals)",
    )
    add("--out", metavar="FILE", help="the CSV that is written (default: my-forecast.csv, of my.csv)")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.saved.forecast import forecast

    found = forecast(options.model, options.data, steps=options.steps, out=options.out)
    for note in found.notes:
        print(note, file=sys.stderr)
    return found.to_json(), str(found)
