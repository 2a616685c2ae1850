"""How fast this library is beside its peers, on this machine, now.

    rows = run("train")            the training step of a small llama: ours, transformers, x-transformers
    rows = run("recipes")          the training step of every recipe at 11M parameters, beside llama's
    rows = run("parts")            the same body with one part swapped, residual rules to activations: step and token
    rows = run("mixers")           one layer at a time: forward, backward, one decoded token, peak memory
    rows = run("decode")           writing text, beside transformers, torchao and llama.cpp
    rows = run("context")          one token behind a short and behind a long prompt, and what states hold
    rows = run("speculative")      guessing tokens ahead on text that repeats itself
    rows = run("overhead")         what the contracts cost over hand-written code
    print(describe(rows))

A row is {"bench", "contestant", "metric", "value", "unit", "shape"}. Values are medians over rounds in which every
contestant has its turn. Rows of the metric `ratio` compare speeds (above 1: the contestant is faster) and those of
`overhead` times; both have "against", "of", and the 90% interval "low".."high" of a paired bootstrap over rounds.
"""

from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from blockyard.bench.measure import Row, Tell, aloud, describe
from blockyard.core import numbers
from blockyard.core.errors import UsageError, unknown

BENCHES = {
    "train": "the training step of llama at 11M parameters, beside transformers and x-transformers",
    "recipes": "the training step of every recipe at 11M parameters, beside llama",
    "parts": "the training step and a token of llama with one part swapped, beside llama as it is",
    "mixers": "forward, backward, decoding and memory of one mixer, beside transformers and plain attention",
    "decode": "writing text with a llama of 110M parameters, beside transformers, torchao and llama.cpp",
    "context": "a token of every recipe behind 128 and behind 8,192 others, and what their states hold",
    "speculative": "writing on in text that repeats itself, with guesses looked up and without",
    "overhead": "what the contracts cost: stack, training loop, command line",
}

SEVERAL = ("mixers", "context")  # benches of more than one length


def run(
    name: str, *, length: int | str | Sequence[int] | None = None, batch: int | None = None, device: str | None = None,
    precision: str | None = None, rounds: int | None = None, quick: bool = False, tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """The rows of one bench; what is left out is as its file says. `quick` leaves out what takes minutes.

    `length` may be several for mixers and context: `(512, 2048)` or `"512,2048"`. Progress goes to `tell`.
    """
    if name not in BENCHES:
        raise unknown("bench", name, BENCHES)
    for what, value, kind in (("rounds", rounds, numbers.ROUNDS), ("batch", batch, numbers.BATCH)):
        if value is not None:
            kind(value, what)
    if device is not None:
        import_module("blockyard.train.device").known_device(device)
    asked: dict[str, Any] = {"batch": batch, "device": device, "precision": precision, "rounds": rounds}
    found = _lengths(length)
    if found:
        if name not in SEVERAL and len(found) > 1:
            raise UsageError(f"bench {name} takes one length, given {', '.join(map(str, found))}")
        asked["length"] = found if name in SEVERAL else min(found)
    given = {key: value for key, value in asked.items() if value is not None}
    bench = import_module(f"blockyard.bench.{name}").bench
    for option in given.keys() - signature(bench).parameters.keys():
        raise UsageError(f"bench {name} takes no {option}")
    return bench(**given, quick=quick, tell=tell)


def _lengths(length: int | str | Sequence[int] | None) -> tuple[int, ...]:
    if length is None:
        return ()
    items = length.split(",") if isinstance(length, str) else length if isinstance(length, Sequence) else (length,)
    return tuple(numbers.LENGTH(item, "length") for item in items)


__all__ = ["BENCHES", "describe", "run"]
