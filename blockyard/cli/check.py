"""Hold a recipe, a part, a task or a study to what it claims."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockyard.cli._grammar import Answer
from blockyard.core.errors import UsageError, WorkFailed
from blockyard.core.files import write_whole

EXAMPLE = "blockyard check mixer:gla"


def options(add: Callable[..., Any]) -> None:
    add("name", help="a recipe (its whole model and all its parts), or kind:name of a part, a task or a study; with "
        "settings: gla:mixer.heads=2, task:mqar:pairs=8; or mup, before a recipe")  # fmt: skip
    add("recipe", nargs="?", help="of mup: whose rates are to carry over from narrow to wide, as RECIPE or RECIPE@mup")
    add("--picture", metavar="FILE", help="of mup: write the picture to this file, an HTML page")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.check import check, widths

    if (options.name == "mup") != (options.recipe is not None) or (options.picture and options.name != "mup"):
        raise UsageError("the coordinate check is of a recipe: blockyard check mup RECIPE, perhaps with --picture FILE")
    if options.name == "mup":
        found, said = widths(options.recipe)
        if options.picture:
            from blockyard.compare.report.widths import widths_page

            write_whole(Path(options.picture), widths_page(options.recipe, found).encode())
    else:
        said = check(options.name)
    verdicts = [{"of": label, **verdict._asdict()} for label, verdict in said]
    lines: list[str] = []
    for label in dict.fromkeys(v["of"] for v in verdicts):
        mine = [v for v in verdicts if v["of"] == label]
        lines += [label, *(f"  {'ok  ' if v['ok'] else 'FAIL'} {v['claim']:18} {v['reason']}".rstrip() for v in mine)]
    if not all(v["ok"] for v in verdicts):
        raise WorkFailed("a claim does not hold\n" + "\n".join(lines))
    return verdicts, "\n".join(lines)
