"""Continue a prompt with a trained model."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer, is_
from blockyard.core import numbers
from blockyard.core.errors import UsageError

EXAMPLE = 'blockyard generate runs/mine:llama --prompt "Once upon a time"'
RENAMED = {"--repetition": "--repetition-penalty", "--ahead": "--num-speculative"}
PARAMS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
DRAWING = {
    **dict.fromkeys(PARAMS),
    "stop": [],
    "num_speculative": 0,
    "int8_cache": False,
}  # unasked for: no search knows them


def options(add: Callable[..., Any]) -> None:
    add("model", help=MODEL)
    add("--prompt", default="\n", help="what to continue; - for standard input")
    add("--tokens", type=is_(numbers.WRITTEN), default=200, help="how many tokens (default 200)")
    add("--temperature", type=is_(numbers.TEMPERATURE), help="0 takes the likeliest (default 0.8)")
    add("--top-k", type=is_(numbers.TOP_K), help="only the k likeliest tokens")
    add("--top-p", type=is_(numbers.SHARE), help="only the likeliest tokens of this mass")
    add("--min-p", type=is_(numbers.SHARE), help="only tokens this near the likeliest")
    add("--repetition-penalty", type=is_(numbers.REPETITION), help="above 1: seen tokens lose weight")
    add("--stop", action="append", default=[], help="end before this text; may be repeated")
    add("--beams", type=is_(numbers.BEAMS), help="search the likeliest texts, so many wide")
    add("--num-speculative", type=is_(numbers.NUM_SPECULATIVE), default=0, help="guess so many tokens from the text so "
        "far: faster where it repeats itself, the same text")  # fmt: skip
    add("--int8-cache", action="store_true", help="attention keeps its past in 8 bits")
    add("--seed", type=is_(numbers.SEED), help="the same seed gives the same text (default 0)")


def run(options: argparse.Namespace) -> Answer:
    prompt = _piped() if options.prompt == "-" else options.prompt
    return _searched(options, prompt) if options.beams is not None else _drawn(options, prompt)


def _drawn(options: argparse.Namespace, prompt: str) -> Answer:
    """Token after token, shown as they come."""
    from blockyard.decode.rules import SamplingParams
    from blockyard.saved.generate import continue_text

    asked = {name: getattr(options, name) for name in PARAMS if getattr(options, name) is not None}
    params = SamplingParams(**{"temperature": 0.8, **asked})
    pieces, tokens, logprobs = [], [], []
    for step in continue_text(
        options.model, prompt, options.tokens, params, options.stop, options.num_speculative, options.int8_cache
    ):
        piece = step.text[0] if step.text else ""
        pieces.append(piece)
        tokens.append(int(step.tokens))
        logprobs.append(float(step.logprobs))
        if not options.json:
            print(piece, end="", flush=True)
    if not options.json:
        print()
    return {"prompt": prompt, "text": "".join(pieces), "tokens": tokens, "logprobs": logprobs}, ""


def _searched(options: argparse.Namespace, prompt: str) -> Answer:
    """The likeliest texts."""
    from blockyard.saved.generate import search_text

    odd = [f"--{name.replace('_', '-')}" for name, value in DRAWING.items() if getattr(options, name) != value]
    if odd:
        raise UsageError(f"--beams searches, it does not know {', '.join(odd)}; leave out that or --beams")
    found = search_text(options.model, prompt, options.tokens, options.beams)
    beams = [beam.to_json() for beam in found]
    return {"prompt": prompt, "beams": beams}, "\n".join(f"{beam.score:9.4f}  {beam.text}" for beam in found)


def _piped() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8: the byte at offset {error.start} is none") from None
