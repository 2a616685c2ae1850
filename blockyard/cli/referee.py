"""Try change after change on a baseline: keep, discard or undecided, with the error shared among all tries.

Exit codes of a try: 0 keep, 3 discard, 4 undecided; as everywhere 1 the work failed, 2 the request is wrong.
"""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer, is_
from blockyard.core import numbers
from blockyard.core.errors import UsageError, unknown

EXAMPLE = "blockyard referee try mixer.heads=2 --out tries"
CODES = {"keep": 0, "discard": 3, "undecided": 4}
ACTS = ("init", "try", "show")
ASKED = ("task", "params", "memory", "tokens", "flops", "length", "batch", "codec", "device", "precision")
JUDGED = ("effect", "alpha", "seeds", "tuning")


def options(add: Callable[..., Any]) -> None:
    add("act", help="init: measure the noise of a baseline; try: answer a change; show: the ledger")
    add("what", nargs="?", help="of init an arm, as compare takes it; of try a change: mixer.heads=2, mixer=NAME, "
        "@muon, an arm, recipe.py, mixer=part.py")  # fmt: skip
    add("--out", required=True, help="the folder of the ledger and the runs")
    add("--held-out", action="store_true", help="of show: train both ends of the chain and score them on the text "
        "that no try sees")  # fmt: skip
    add(
        "--effect",
        type=is_(numbers.EFFECT),
        help="the size of change to be found, as a share of the score (default 1%%)",
    )
    add("--seeds", type=is_(numbers.TRY_SEEDS), help="the most seeds that a try may take (default 24)")
    add("--alpha", type=is_(numbers.ALPHA), help="how often anything is kept, over all tries, while nothing is a gain "
        "(default 0.05)")  # fmt: skip
    add("--tuning", help="baseline (default): its rate for every change; fit: 4 rates for every change; none")
    add("--data", action="append", help="as of compare, and so are the options below; all of them are of init")
    add("--task", metavar="NAME[:KEY=VALUE,...]", help="a task, not text")
    add("--params", type=is_(numbers.PARAMS), help="parameters of every arm (default 200k)")
    add("--memory", type=is_(numbers.MEMORY), help="peak memory of a training step, instead of parameters")
    add("--tokens", type=is_(numbers.TOKENS), help="training tokens of every run (default 200k)")
    add("--flops", type=is_(numbers.FLOPS), help="training operations of every run, instead of tokens")
    add("--length", type=is_(numbers.LENGTH), help="tokens a row")
    add("--batch", type=is_(numbers.BATCH), help="rows a step")
    add("--codec", help="bytes, or bpe:4096")
    add("--device", help="cpu, cuda, mps")
    add("--precision", help="float32 or bfloat16")


def run(options: argparse.Namespace) -> Answer:
    from blockyard import referee

    if options.act not in ACTS:
        raise unknown("act of a referee", options.act, ACTS)
    said = {name: getattr(options, name) for name in (*JUDGED, *ASKED, "data") if getattr(options, name) is not None}
    if options.act != "init" and said:
        raise UsageError(f"--{next(iter(said))} is said once, to init; the ledger keeps it")
    if (options.act == "show") == (options.what is not None):
        raise UsageError(
            "show takes no change" if options.what else f"{options.act} what? see: blockyard referee --help"
        )
    if options.held_out and options.act != "show":
        raise UsageError("--held-out is of show: no try sees that text")
    if options.act == "try":
        made = referee.attempt(options.what, out=options.out)
        return made.to_json(), str(made), CODES[made.answer]
    if options.act == "show":
        ledger = referee.show(options.out, held_out=options.held_out)
    else:
        ledger = referee.init(options.what, out=options.out, **said)
    return ledger.to_json(), str(ledger)
