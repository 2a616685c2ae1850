"""What `compare` and `train` are both asked: on what, how large, how long, and how."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from blockyard.cli._grammar import is_
from blockyard.core import numbers
from blockyard.core.document import Json
from blockyard.core.errors import UsageError
from blockyard.core.spec import parse_value

TARGET = "NAME, LABEL=NAME or LABEL=NAME:key=value,key=value; with |TRANSFORM:key=value what it becomes once trained"
SHARED = ("task", "params", "memory", "tokens", "flops", "minutes", "length", "batch", "device", "precision", "codec")


ONE = {"params": (numbers.PARAMS, ""), "tokens": (numbers.TOKENS, "")}  # what is read, and what more its help says


def options(add: Callable[..., Any], amounts: Mapping[str, tuple[Callable[[Any, str], Any], str]] = ONE) -> None:
    """The options of both; `amounts` are how many parameters and tokens may be named."""
    (params, sizes), (tokens, lengths) = amounts["params"], amounts["tokens"]
    add("--data", action="append", default=[], help="a text file, a folder or a .jsonl; - for standard input; "
        "may be given several times (default: the texts of CPython itself)")  # fmt: skip
    add("--task", metavar="NAME[:KEY=VALUE,...]", help="a task, not text (see: blockyard list task)")
    add("--params", type=is_(params), help=f"parameters of every arm (default 200k){sizes}")
    add("--memory", type=is_(numbers.MEMORY), help="peak memory of a training step of every arm, instead of "
        "parameters: 200M")  # fmt: skip
    add("--tokens", type=is_(tokens), help=f"training tokens of every arm (default 200k){lengths}")
    add("--flops", type=is_(numbers.FLOPS), help="training operations of every arm, instead of tokens")
    add("--minutes", type=is_(numbers.MINUTES), help="training minutes of every arm, instead of tokens")
    add("--length", type=is_(numbers.LENGTH), help="tokens a row (default 128; a task has its own)")
    add("--batch", type=is_(numbers.BATCH), help="rows a step (default: as many as the task takes, 16)")
    add("--codec", help="bytes (default), or bpe:4096: trained on your text")
    add("--device", help="cpu, cuda, mps (default: cuda if there is one)")
    add("--precision", help="float32 or bfloat16 (default: a rule, printed)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an override for all arms, as mixer.heads=4")
    add("--out", help="the folder of runs, figures and report; the same folder goes on where it stopped")
    add("--log", metavar="NAME,...", default=(), help="trackers that are told of every run as it goes on (see: "
        "blockyard list tracker); they keep it below OUT/logs")  # fmt: skip
    add("--index", metavar="URL", help="a database that gets a row for every run too, as sqlite:///runs.db; "
        "`runs --index` lists it")  # fmt: skip
    add("--dry-run", action="store_true", help="print what would be done and how long it would take")


def amounts(add: Callable[..., Any]) -> None:
    """What a model that is there already is asked: on what, how long, and how."""
    add("--data", action="append", default=[], help="a text file, a folder or a .jsonl; - for standard input; "
        "may be given several times (default: the texts of CPython itself)")  # fmt: skip
    add("--task", metavar="NAME[:KEY=VALUE,...]", help="a task, not text (see: blockyard list task)")
    add("--tokens", type=is_(numbers.TOKENS), help="training tokens (default 200k)")
    add("--flops", type=is_(numbers.FLOPS), help="training operations, instead of tokens")
    add("--minutes", type=is_(numbers.MINUTES), help="training minutes, instead of tokens")
    add("--length", type=is_(numbers.LENGTH), help="tokens a row (default: as the model was made for, or 128)")
    add("--batch", type=is_(numbers.BATCH), help="rows a step (default: as many as the task takes, 16)")
    add("--device", help="cpu, cuda, mps (default: cuda if there is one)")
    add("--precision", help="float32 or bfloat16 (default: a rule, printed)")
    add("--out", help="the folder of the run; the same folder goes on where it stopped")
    add("--dry-run", action="store_true", help="print what would be done and how long it would take")


def rate(add: Callable[..., Any]) -> None:
    """How far the steps of a model go that learned before."""
    add("--rate", type=is_(numbers.RATE), help="the peak learning rate of a model that goes on (default: 0.005 "
        "sqrt(64 / width) for what is new, a tenth of that for all of it)")  # fmt: skip


def request(options: argparse.Namespace) -> dict[str, Any]:
    """What was said, as `by.compare` takes it."""
    said = {name: getattr(options, name) for name in (*SHARED, "data", "out", "log", "index", "dry_run")}
    said["codec"] = said["codec"] or "bytes"
    return said | {"overrides": parse_overrides(options.set)}


def processes() -> int:
    """How many processes torchrun started, this one among them; 1: it did not."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return 1
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # before it is loaded; it advises on each process otherwise
    return int(os.environ["WORLD_SIZE"])


def dry(plan: Any) -> Json:
    """The answer where only a plan was asked for."""
    from blockyard.compare.plan.plan import estimate

    return {"plan": plan.to_json(), "estimate_seconds": estimate(plan)}


def parse_sweep(items: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """`key=value,value` words of `--sweep`."""
    from blockyard.core.spec import split_words

    found = {}
    for item in items:
        key, _, values = item.partition("=")
        words = [word.strip() for word in split_words(values)]
        if not key or not all(words) or len(set(words)) < max(2, len(words)):
            raise UsageError(f"--sweep {item!r} is not key=value,value,...; for example --sweep mixer.heads=1,2,4")
        found[key] = tuple(parse_value(word) for word in words)
    return found


def parse_overrides(items: Sequence[str]) -> dict[str, Any]:
    """`key=value` words of `--set`."""
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item!r} is not key=value; for example --set mixer.heads=4")
        found[key] = parse_value(value)
    return found
