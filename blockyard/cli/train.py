"""Train one architecture, or go on with a model, and keep the model."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockyard.cli import _training
from blockyard.cli._grammar import Answer
from blockyard.core.errors import UsageError, WorkFailed

EXAMPLE = "blockyard train gla --data my.txt --params 1M --tokens 2M --out my-model"


def options(add: Callable[..., Any]) -> None:
    add("target", nargs="?", help=_training.TARGET)
    add("--init", metavar="MODEL", help="go on from a model instead: our folder, one of transformers, or OUT:ARM; "
        "kind, size and tokeniser come from there")  # fmt: skip
    _training.options(add)
    _training.rate(add)
    add("--shard", action="store_true", help="under torchrun: every process keeps a part of the model, not a copy")


def run(options: argparse.Namespace) -> Answer:
    if _training.processes() == 1:
        if options.shard:
            raise UsageError("--shard is for several processes: torchrun --nproc-per-node 2 -m blockyard train ...")
        return _trained(options)
    from blockyard.train.spread import together

    with together(options.shard) as all_of:
        if all_of.first:
            return _trained(options)
        from blockyard.compare.run.ranks import follow

        follow(all_of)
        return None, ""


def _trained(options: argparse.Namespace) -> Answer:
    from blockyard.compare.compare import train_one
    from blockyard.compare.documents import Report

    if options.codec is not None and options.init is not None:
        raise UsageError(f"the tokeniser comes from {options.init}; leave --codec out")
    onward = {"init": options.init, "rate": options.rate}
    found = train_one(options.target, **_training.request(options), **onward)
    if not isinstance(found, Report):
        return _training.dry(found), ""
    (arm,) = found.arms
    if arm.status != "finished" or arm.model is None or found.report is None:
        raise WorkFailed("; ".join(arm.reasons))
    model, score, unit = str(Path(found.report).parent / arm.model.folder), arm.score.mean, found.metric.unit
    document = {"model": model, "score": score, "unit": unit, "params": arm.params, "tokens": arm.tokens}
    return document, f"{score:.4f} {unit} on the test; the model is in {model}"
