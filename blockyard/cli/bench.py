"""How fast we are beside others here: train, recipes, mixers, decode, context, speculative or overhead."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer, is_
from blockyard.core import numbers

EXAMPLE = "blockyard bench train"


def options(add: Callable[..., Any]) -> None:
    add("name", help="train, recipes, mixers, decode, context, speculative or overhead")
    add("--length", help="tokens a row; of mixers and context also several: 512,2048")
    add("--batch", type=is_(numbers.BATCH), help="rows (default: as the bench says)")
    add("--device", help="cpu (default) or cuda")
    add("--precision", help="float32 or bfloat16 (default: both where it pays)")
    add("--rounds", type=is_(numbers.ROUNDS), help="interleaved rounds (default 7 or more)")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.bench import describe, run

    names = ("length", "batch", "device", "precision", "rounds")
    rows = run(options.name, **{name: getattr(options, name) for name in names})
    return [row.to_json() for row in rows], describe(rows)
