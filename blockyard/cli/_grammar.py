"""What all verbs are made of: the grammar of a command line, and an answer for a program and for a person.

A verb is a file of this folder, with its name: the first line of its header is its help, `EXAMPLE` a command that runs,
`options` adds what may be said, `run` does it, `RENAMED` (if there is one) says what options were called in the version
before. Files import what they need when they run, so that a help costs nothing.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from blockyard.core.errors import UsageError, unknown

Answer = tuple[Any, str] | tuple[Any, str, int]  # the JSON document, the same for a person, an exit code that is not 0
VERBS = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


MODEL = "the folder of a trained model, or OUT:ARM of a comparison"


class Verb(Protocol):
    """What the file of a verb holds."""

    __doc__: str
    EXAMPLE: str

    def options(self, add: Callable[..., Any]) -> None:
        """Add the arguments and options."""

    def run(self, options: argparse.Namespace) -> Answer:
        """Do it; UsageError where the request is wrong, WorkFailed where the work is."""
        ...


def renewed(name: str, words: list[str]) -> list[str]:
    """The words with old names of options replaced by those of today, each told in a line."""
    old: dict[str, str] = getattr(verb(name), "RENAMED", {})
    found = []
    for word in words:
        option, equals, value = word.partition("=")
        if option in old:
            print(f"blockyard: {option} is called {old[option]} now", file=sys.stderr)
        found.append(old.get(option, option) + equals + value)
    return found


def odd(name: str, words: list[str]) -> UsageError:
    """The error for words of a command that nobody reads: an option gets the nearest one of its verb."""
    made = argparse.ArgumentParser(name, add_help=False)
    verb(name).options(made.add_argument)
    known = ["--json", "--help", *(each for action in made._actions for each in action.option_strings)]
    for word in words:
        if word.startswith("--"):
            return unknown(f"option of blockyard {name}", word.partition("=")[0], known)
    return UsageError(f"unrecognized arguments: {' '.join(words)}; see blockyard {name} --help")


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"blockyard: {message.removeprefix('argument ')}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def verb(name: str) -> Verb:
    """The file of a verb."""
    if name not in VERBS:
        raise unknown("verb", name, VERBS)
    return cast(Verb, import_module(f"blockyard.cli.{name}"))


def parser() -> Parser:
    """The whole grammar; its options are few and frozen by a test."""
    first = f"begin with: {verb('compare').EXAMPLE}"
    top = Parser("blockyard", description="A workbench for the Transformer family.", epilog=first)
    top.add_argument("--version", action="store_true", help="print the version")
    verbs = top.add_subparsers(dest="verb", metavar="VERB")
    for name in VERBS:
        each = verb(name)
        title = each.__doc__.splitlines()[0]
        made = verbs.add_parser(
            name, help=title[0].lower() + title[1:].rstrip("."), description=title, allow_abbrev=False,
            epilog=f"example: {each.EXAMPLE}",
        )  # fmt: skip
        made.add_argument("--json", action="store_true", help="one JSON document on standard output")
        each.options(made.add_argument)
    return top


def is_(kind: Callable[[Any, str], Any]) -> Callable[[str], Any]:
    """A type of argparse, which shows the words of its own error only and names the option itself."""

    def read(text: str) -> Any:
        try:
            return kind(text, "")
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error).strip()) from None

    return read


def chosen(rows: list[dict[str, Any]], **wanted: str | None) -> list[dict[str, Any]]:
    """The rows that have what was asked for."""
    for column, value in wanted.items():
        known = {row[column] for row in rows if row[column]}
        if value is not None and value not in known:
            raise unknown(column, value, known)
        rows = [row for row in rows if value is None or row[column] == value]
    return rows


def columns(rows: Sequence[dict[str, Any]], *names: str) -> str:
    """Rows as lines, every column as wide as its widest entry."""
    widths = [max((len(row[name]) for row in rows), default=0) for name in names]
    return "\n".join("  ".join(f"{row[n]:{w}}" for n, w in zip(names, widths)).rstrip() for row in rows)
