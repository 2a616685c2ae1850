"""Logs of single samples that lm-evaluation-harness leaves with --log_samples: MODEL/samples_TASK_TIME.jsonl.

model     the folder of the file              sample    the task and the number of the document
task      as the file says                    metrics   by their names; `exact_match,strict-match` where several
                                                        filters scored the same document
"""

import re
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.runs._read import Placed, Row, text_of
from blockyard.runs.lines import json_line

FILES = "samples of lm-eval (samples_*.jsonl)"
NAME = re.compile(r"samples_(.+?)(?:_\d{4}-\d\d-\d\dT.*)?\.jsonl$")
KNOWN = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}


def known(path: Path) -> bool:
    """By its name."""
    return NAME.fullmatch(path.name) is not None and path.is_file()


def rows(path: Path) -> Placed:
    """A row for every document, with what all filters say of it."""
    named = NAME.fullmatch(path.name)
    task = named[1] if named else path.stem
    read = [
        (number, json_line(path, number, line)) for number, line in enumerate(text_of(path).splitlines(), 1) if line
    ]
    filters = {str(sample.get("filter", "none")) for _, sample in read}
    found: dict[Any, tuple[str, Row]] = {}
    for number, sample in read:
        if "doc_id" not in sample:
            raise UsageError(f"{path}, line {number} has no doc_id: it is no sample of lm-eval")
        document, about = sample["doc_id"], {"model": path.resolve().parent.name, "task": task}
        _, row = found.setdefault(document, (f"{path}, line {number}", about | {"sample": f"{task} {document}"}))
        ending = f",{sample['filter']}" if len(filters) > 1 else ""
        for name in _metrics(sample):
            if f"{name}{ending}" in row:
                raise UsageError(f"{path}, line {number}: document {document} was scored before; keep one of the two")
            row[f"{name}{ending}"] = sample[name]
    yield from found.values()


def _metrics(sample: dict[str, Any]) -> list[str]:
    """The names of what scores a sample: what it says itself, or else all numbers that are nothing else."""
    told = sample.get("metrics")
    names = told if isinstance(told, list) else [name for name in sample if name not in KNOWN]
    return [name for name in names if isinstance(sample.get(name), int | float)]
