"""Hold a recipe, a part, a task or a study to what it claims."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer
from blockyard.core.errors import WorkFailed

EXAMPLE = "blockyard check mixer:gla"


def options(add: Callable[..., Any]) -> None:
    add("name", help="a recipe (its whole model and all its parts), or kind:name of a part, a task or a study; with "
        "settings: gla:mixer.heads=2, task:mqar:pairs=8")  # fmt: skip


def run(options: argparse.Namespace) -> Answer:
    from blockyard.check import check

    verdicts = [{"of": label, **verdict._asdict()} for label, verdict in check(options.name)]
    lines: list[str] = []
    for label in dict.fromkeys(v["of"] for v in verdicts):
        mine = [v for v in verdicts if v["of"] == label]
        lines += [label, *(f"  {'ok  ' if v['ok'] else 'FAIL'} {v['claim']:18} {v['reason']}".rstrip() for v in mine)]
    if not all(v["ok"] for v in verdicts):
        raise WorkFailed("a claim does not hold\n" + "\n".join(lines))
    return verdicts, "\n".join(lines)
