"""Score a trained model on a text, in bits per byte."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer, is_
from blockyard.core import numbers

EXAMPLE = "blockyard eval my-model --data other.txt"


def options(add: Callable[..., Any]) -> None:
    add("model", help=MODEL)
    add("--data", action="append", default=[], help="a text file or folder; - for standard input")
    add("--length", type=is_(numbers.EVAL_LENGTH), help="tokens a window (default: as trained)")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.saved.evaluate import evaluate

    report = evaluate(options.model, options.data, options.length)
    for note in report.notes:
        print(note, file=sys.stderr)
    return report.to_json(), f"{report.bits_per_byte:.4f} bits/byte over {report.bytes:,} bytes of {report.data}"
