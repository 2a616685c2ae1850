"""Train small parts beside a model that stays as it is, and keep them alone."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from blockyard.cli import _training
from blockyard.cli._grammar import MODEL, Answer

EXAMPLE = "blockyard adapt my-model --with lora:rank=8 --data my.txt --tokens 1M --out my-adapter"
AMOUNTS = ("tokens", "flops", "minutes", "length", "batch")
ASKED = (*AMOUNTS, "task", "device", "precision", "rate", "data", "out", "dry_run")


def options(add: Callable[..., Any]) -> None:
    add("model", help=f"{MODEL}, or a folder that transformers saved")
    add("--with", dest="adapters", action="append", default=[], metavar="NAME[:KEY=VALUE,...]", help="what is attached "
        "and learns: lora, dora, ia3, bottleneck, ... (see: blockyard list transform); may be given several times, "
        "one stands on the other")  # fmt: skip
    add("--merge", action="store_true", help="make one model of the two as well, in OUT/merged; refused where they are "
        "not one")  # fmt: skip
    add("--peft", action="store_true", help="write the adapter as the peft library keeps it too, in OUT/peft: of a "
        "model that transformers saved")  # fmt: skip
    _training.amounts(add)
    _training.rate(add)


def run(options: argparse.Namespace) -> Answer:
    from blockyard.compare.documents import Plan
    from blockyard.compare.plan.onward import begun
    from blockyard.saved.adapt import adapt, covers

    if options.adapters:
        for each in covers(begun(options.model), options.adapters, options.merge, options.peft):
            print(each, file=sys.stderr)
    asked = {name: getattr(options, name) for name in ASKED}
    made = adapt(options.model, options.adapters, merge=options.merge, peft=options.peft, **asked)
    return (_training.dry(made), "") if isinstance(made, Plan) else (made.to_json(), str(made))
