"""Predict the answer of new rows, images, sounds or texts, with chances or intervals."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer

EXAMPLE = "blockyard predict runs/mine:transtab new.csv"


def options(add: Callable[..., Any]) -> None:
    add("model", help=f"{MODEL}; it was trained on --task table, or on classify of images, sounds or texts")
    add(
        "data", help="a table with the columns that the model reads; or a folder of files, a file, texts as FILE:COLUMN"
    )
    add("--out", metavar="FILE", help="the CSV that is written (default: new-predictions.csv, of new.csv)")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.saved.predict import predict

    found = predict(options.model, options.data, out=options.out)
    for note in found.notes:
        print(note, file=sys.stderr)
    return found.to_json(), str(found)
