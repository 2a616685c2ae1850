"""Train one architecture and keep the model."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli import _training
from blockyard.cli._grammar import Answer

EXAMPLE = "blockyard train gla --data my.txt --params 1M --tokens 2M --out my-model"


def options(add: Callable[..., Any]) -> None:
    add("target", help=_training.TARGET)
    _training.options(add)


def run(options: argparse.Namespace) -> Answer:
    from blockyard.compare.single import train_one

    report = train_one(options.target, **_training.request(options))
    if "model" not in report:
        return report, ""
    return report, f"{report['score']:.4f} {report['unit']} on the test; the model is in {report['model']}"
