"""Which of these architectures suits this data and budget, and how sure is that."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli import _training
from blockyard.cli._grammar import Answer, is_
from blockyard.core import numbers
from blockyard.core.errors import UsageError, WorkFailed

EXAMPLE = "blockyard compare llama gla --data my.txt --params 1M --tokens 2M"
JUDGED = ("seeds", "margin", "tuning", "against", "within", "ram", "engine")
SEVERAL = {
    "params": (numbers.SIZES, "; several sizes, 100k,300k,1M, in one comparison"),
    "tokens": (numbers.SEVERAL_TOKENS, "; several, 1M,2M, beside several sizes"),
}


def options(add: Callable[..., Any]) -> None:
    add("target", nargs="+", help=_training.TARGET)
    _training.options(add, SEVERAL)
    add("--seeds", help="runs of every arm (default by the number of arms); 3,6,10 looks three times and stops when it "
        "is settled")  # fmt: skip
    add("--margin", type=is_(numbers.MARGIN), default=0.01, help="the difference that matters, as a share of the loss "
        "(default 0.01)")  # fmt: skip
    add("--tuning", default="fit", help="fit (default): 4 rates for every arm; nested: for every seed too; none")
    add("--within", type=is_(numbers.WITHIN), metavar="TIME", help="wall-clock of the whole comparison, as 8h, 480m or "
        "90s: size, seeds and tokens that are not given are chosen for it")  # fmt: skip
    add("--ram", type=is_(numbers.MEMORY), metavar="BYTES", help="with --within: bytes for all runs together, as 16G")
    add("--against", metavar="LABEL", help="judge every arm against this one only")
    add("--engine", default="processes", help="who does the runs: processes of this machine (default), or ray: "
        "the cluster at RAY_ADDRESS")  # fmt: skip
    add("--sweep", action="append", default=[], metavar="KEY=VALUE,VALUE,...", help="make every arm with each of these "
        "values, as mixer.heads=1,2,4, and draw the score against them")  # fmt: skip
    add("--gate", metavar="CONDITION", help="of several sizes: a condition on every arm, written down before the first "
        "run, as 'speedup>1 at 2 sizes'")  # fmt: skip


def run(options: argparse.Namespace) -> Answer:
    if _training.processes() > 1:
        raise UsageError("torchrun spreads one run, as of blockyard train; a comparison has many: leave torchrun out")
    from blockyard.compare.compare import compare
    from blockyard.compare.documents import Report
    from blockyard.compare.sizes.documents import Sketch
    from blockyard.compare.sizes.run import compare_sizes, is_several

    judged = {name: getattr(options, name) for name in JUDGED}
    asked = {"sweep": _training.parse_sweep(options.sweep), **judged, **_training.request(options)}
    if is_several(asked | {"gate": options.gate}):
        several = compare_sizes(options.target, gate=options.gate, **asked)
        if isinstance(several, Sketch):
            return several.to_json(), ""
        if not any(arm.finished for size in several.sizes for arm in size.arms):
            raise WorkFailed(f"every run of every arm failed; see {several.report}")
        return several.to_json(), str(several)
    found = compare(options.target, **asked)
    if not isinstance(found, Report):
        return _training.dry(found), ""
    if not any(arm.finished for arm in found.arms):
        reasons = [f"  {arm.name}: {'; '.join(arm.reasons)}" for arm in found.arms]
        raise WorkFailed("\n".join(["every run of every arm failed", *reasons, f"see {found.report}"]))
    return found.to_json(), str(found)
