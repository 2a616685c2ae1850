"""Train one architecture and keep the model."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockyard.cli import _training
from blockyard.cli._grammar import Answer
from blockyard.core.errors import UsageError, WorkFailed

EXAMPLE = "blockyard train gla --data my.txt --params 1M --tokens 2M --out my-model"


def options(add: Callable[..., Any]) -> None:
    add("target", help=_training.TARGET)
    _training.options(add)
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

    found = train_one(options.target, **_training.request(options))
    if not isinstance(found, Report):
        return _training.dry(found), ""
    (arm,) = found.arms
    if arm.status != "finished" or arm.model is None or found.report is None:
        raise WorkFailed("; ".join(arm.reasons))
    model, score, unit = str(Path(found.report).parent / arm.model.folder), arm.score.mean, found.metric.unit
    document = {"model": model, "score": score, "unit": unit, "params": arm.params, "tokens": arm.tokens}
    return document, f"{score:.4f} {unit} on the test; the model is in {model}"
