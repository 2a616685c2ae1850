"""Make a trained model smaller step by step; every step says what it saved and what it cost."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer, is_
from blockyard.core import numbers

EXAMPLE = "blockyard shrink my-model --with drop:steps=1 --with gptq:bits=4 --recover 200k --data my.txt --out small"
ASKED = ("task", "length", "batch", "device", "precision")


def options(add: Callable[..., Any]) -> None:
    add("model", help=f"{MODEL}, or a folder that transformers saved")
    add("--with", dest="steps", action="append", default=[], metavar="NAME[:KEY=VALUE,...]", help="what becomes of it: "
        "drop, cut, gptq, quantise, recover, ... (see: blockyard list transform); may be given several times, in "
        "order")  # fmt: skip
    add("--recover", type=is_(numbers.TOKENS), metavar="TOKENS", help="train for so many tokens behind the last step "
        "before weights are put on a grid or packed")  # fmt: skip
    add("--data", action="append", default=[], help="a text file, a folder or a .jsonl that steps are fitted to and "
        "scored on; may be given several times (default: the texts of CPython itself)")  # fmt: skip
    add("--task", metavar="NAME[:KEY=VALUE,...]", help="a task, not text (see: blockyard list task)")
    add("--length", type=is_(numbers.LENGTH), help="tokens a row (default: as the model was made for, or 128)")
    add("--batch", type=is_(numbers.BATCH), help="rows a step (default: as many as the task takes, 16)")
    add("--device", help="cpu, cuda, mps (default: cuda if there is one)")
    add("--precision", help="float32 or bfloat16 (default: a rule, printed)")
    add("--margin", type=is_(numbers.MARGIN), default=0.01, help="the loss that matters, as a share of the score "
        "(default 0.01)")  # fmt: skip
    add("--out", required=True, help="the folder of the chain; the same folder goes on where it stopped")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.saved.shrink import shrink

    done = shrink(
        options.model, options.steps, data=options.data, out=options.out, recover=options.recover,
        margin=options.margin, tell=lambda line: print(line, file=sys.stderr),
        **{name: getattr(options, name) for name in ASKED},
    )  # fmt: skip
    return done.to_json(), str(done)
