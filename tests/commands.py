"""docs/commands.md, written from the grammar of the command line: `python -m tests.commands`."""

import argparse
from pathlib import Path

from blockyard.cli import parser

PAGE = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
HEAD = """\
# Commands

`blockyard VERB ...`; every verb explains itself with `--help`. Answers go to standard output, progress to standard
error; with `--json` the answer is one JSON document. Exit code 0: done; 1: the work failed, or a claim does not hold;
2: the request is wrong, told in a line or two; 130: stopped by Ctrl-C. Of `referee try` 3 is discard and 4 undecided.
This page is written by `python -m tests.commands`.
"""


def called(action: argparse.Action) -> str:
    """What is typed: `--data DATA`, or the name of what stands by itself."""
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    if action.option_strings:
        return f"{action.option_strings[-1]} {value}".rstrip()
    return {"+": f"{action.dest} ...", "?": f"[{action.dest}]"}.get(str(action.nargs), action.dest)


def section(name: str, verb: argparse.ArgumentParser) -> str:
    """A verb: what it does, an example, and everything that may be said."""
    asked = [a for a in verb._actions if a.dest not in ("help", "json")]
    rows = [f"| `{called(a)}` | {a.help}{' (required)' * (a.required and bool(a.option_strings))} |" for a in asked]
    table = "\n".join(["| argument | |", "| --- | --- |", *(row.replace("%%", "%") for row in rows)])
    example = str(verb.epilog).removeprefix("example: ")
    return f"## {name}\n\n{verb.description}\n\n```console\n$ {example}\n```\n\n{table}\n"


def page() -> str:
    """The whole page."""
    (verbs,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return "\n".join([HEAD, *(section(name, verb) for name, verb in verbs.choices.items())])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
