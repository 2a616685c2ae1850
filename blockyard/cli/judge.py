"""Which of anybody's runs can be told apart: tables of scores, logs, folders of trackers."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer, is_
from blockyard.core import numbers

EXAMPLE = "blockyard judge runs.csv --score val_loss --against baseline"
NAMES = ("arm", "seed", "pair", "score", "group", "weight", "step", "better", "margin", "alpha", "against", "out")


def options(add: Callable[..., Any]) -> None:
    add("file", nargs="+", help="CSV, JSON lines, exports and offline runs of W&B, MLflow, mlruns, events of "
        "TensorBoard, databases of Trackio, samples of lm-eval; or folders of them")  # fmt: skip
    add("--arm", metavar="COLUMN", help="what is compared (this column and the next are found where names are usual)")
    add(
        "--seed",
        metavar="COLUMN",
        help="which run of an arm a row is of; several with commas; none: every row is a run",
    )
    add("--pair", metavar="COLUMN", help="which sample a row scores, the same for all arms: they are paired by it")
    add("--score", metavar="COLUMN", help="the figures to judge; several with commas share the error")
    add("--group", metavar="COLUMN", help="samples of one group count as one")
    add("--weight", metavar="COLUMN", help="how much a sample counts, the same in all runs (all alike without it)")
    add("--step", metavar="COLUMN", help="of the rows of a run the last step counts")
    add("--better", help="lower or higher (known of usual metrics); of several scores one each, with commas")
    add("--margin", type=is_(numbers.MARGIN), default=0.01, help="the difference that matters, as a share of the score "
        "(default 0.01)")  # fmt: skip
    add("--alpha", type=is_(numbers.ALPHA), default=0.05, help="how often any verdict may err (default 0.05)")
    add("--against", metavar="ARM", help="judge every arm against this one only")
    add("--out", help="a folder for result.json, report.txt and the page report.html")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.compare.verdict import judge

    found = judge(options.file, **{name: getattr(options, name) for name in NAMES})
    return found.to_json(), str(found)
