"""Continue a prompt with a trained model."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from blockyard.cli._grammar import MODEL, Answer, is_
from blockyard.core import numbers
from blockyard.core.errors import UsageError

if TYPE_CHECKING:
    from blockyard.saved.generate import Writing

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
    add("text", nargs="?", help="the same as --prompt, right behind the folder")
    add("--prompt", help="what to continue, as it stands; - for standard input")
    add("--chat", help="what a user says, in the chat template of the folder; - for standard input")
    add("--system", help="what the system says before the user")
    add("--tokens", type=is_(numbers.WRITTEN), help="how many tokens (default: the folder's, or 200)")
    add("--temperature", type=is_(numbers.TEMPERATURE), help="0 takes the likeliest (default: the folder's, or 0.8)")
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
    from blockyard.saved.generate import Request, Writing

    search = options.beams is not None
    odd = [f"--{name.replace('_', '-')}" for name, value in DRAWING.items() if getattr(options, name) != value]
    if search and odd:
        raise UsageError(f"--beams searches, it does not know {', '.join(odd)}; leave out that or --beams")
    if options.text is not None and options.prompt is not None:
        raise UsageError("the prompt is given twice; leave out --prompt or the text behind the folder")
    prompt = options.prompt if options.text is None else options.text
    read = [_piped() if each == "-" else each for each in (prompt, options.chat)]
    request = Request(read[0], read[1], options.system)
    asked = {} if search else {name: getattr(options, name) for name in PARAMS}
    writing = Writing(options.model, request, options.tokens, **asked)
    for note in writing.notes:
        print(note, file=sys.stderr)
    if search:
        found = writing.search(options.beams)
        beams = [beam.to_json() for beam in found]
        return {"prompt": writing.prompt, "beams": beams}, "\n".join(f"{b.score:9.4f}  {b.text}" for b in found)
    return _drawn(writing, options)


def _drawn(writing: "Writing", options: argparse.Namespace) -> Answer:
    """Token after token, shown as they come."""
    pieces, tokens, logprobs = [], [], []
    for step in writing.steps(options.stop, options.num_speculative, options.int8_cache):
        piece = step.text[0] if step.text else ""
        pieces.append(piece)
        tokens.append(int(step.tokens))
        logprobs.append(float(step.logprobs))
        if not options.json:
            print(piece, end="", flush=True)
    if not options.json:
        print()
    return {"prompt": writing.prompt, "text": "".join(pieces), "tokens": tokens, "logprobs": logprobs}, ""


def _piped() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8: the byte at offset {error.start} is none") from None
