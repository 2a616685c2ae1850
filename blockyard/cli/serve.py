"""Trained models that answer over HTTP, as clients of OpenAI's interface ask."""

import argparse
import os
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer, is_
from blockyard.core import numbers
from blockyard.core.errors import UsageError

EXAMPLE = "blockyard serve runs/mine:llama --port 8000"


def options(add: Callable[..., Any]) -> None:
    add("model", nargs="+", help="a folder, OUT:ARM of a comparison, or NAME=FOLDER; several answer by their names")
    add("--host", default="127.0.0.1", help="the address to listen at (default 127.0.0.1: this machine only)")
    add("--port", type=is_(numbers.PORT), default=8000, help="0: any that is free (default 8000)")
    add("--rows", type=is_(numbers.ROWS), default=8, help="requests that run at once, of each model (default 8)")
    add("--waiting", type=is_(numbers.WAITING), default=64, help="requests that may wait for them (default 64)")
    add("--tokens", type=is_(numbers.ANSWERED), default=4096, help="of a prompt and its answer (default 4096)")
    add("--adapter", metavar="NAME=FOLDER", action="append", default=[], help="an adapter of ours or of peft on the "
        "model, as a model of its own that shares its memory; may be repeated")  # fmt: skip
    add("--draft", metavar="FOLDER", help="a smaller model of the same tokens that guesses ahead: the same texts")
    add("--num-speculative", type=is_(numbers.NUM_SPECULATIVE), help="guess so many tokens at once where few requests "
        "run; without --draft from the text so far (default 0, with --draft 6)")  # fmt: skip
    add("--key", metavar="FILE", help="a file with a key a line: who brings none of them is refused; BLOCKYARD_KEY "
        "holds one too")  # fmt: skip
    add("--runs", metavar="FOLDER", help="a folder of comparisons that the page at / lists: progress and reports")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.serve.limits import Limits
    from blockyard.serve.run import serve

    limits = Limits(rows=options.rows, waiting=options.waiting, tokens=options.tokens)
    serve(
        options.model, host=options.host, port=options.port, limits=limits, keys=_keys(options.key), runs=options.runs,
        adapters=options.adapter, draft=options.draft, num_speculative=options.num_speculative,
    )  # fmt: skip
    return {}, ""


def _keys(path: str | None) -> list[str]:
    found = [os.environ["BLOCKYARD_KEY"]] if os.environ.get("BLOCKYARD_KEY") else []
    if path is not None:
        try:
            with open(path, encoding="utf-8") as file:
                found += [line.strip() for line in file if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from None
        if not found:
            raise UsageError(f"{path} holds no key; give one a line, or leave out --key")
    return found
