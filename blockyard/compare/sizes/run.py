"""Several sizes: the comparison of each, from small to large, and what they say together.

Every size, with every number of tokens, is a comparison as any other in a folder of its own. Before one begins, what
the smaller ones predict of it is written down; after the last, so is what they predict of one size more.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blockyard.compare.compare import How, folder_name, request_of, run_arms
from blockyard.compare.documents import Plan, Report
from blockyard.compare.plan.plan import Request, estimate, make_plan
from blockyard.compare.report.page import amount
from blockyard.compare.run.progress import Watch
from blockyard.compare.sizes.documents import Place, SizesPlan, SizesReport, Sketch
from blockyard.compare.sizes.folder import Folder
from blockyard.compare.sizes.foresee import foresee, held
from blockyard.compare.sizes.gate import parse_gate
from blockyard.compare.sizes.judged import Finished, outcome
from blockyard.compare.sizes.page import write
from blockyard.core import numbers
from blockyard.core.errors import UsageError, unknown

ONE_MORE = 3.0  # times the largest size, where one size more is predicted
Wanted = tuple[Request, Plan]  # of a place
NOT_HERE = {
    "memory": "sizes are told by --params",
    "minutes": "a size trained for minutes gets fewer tokens than a smaller one; give --tokens or --flops",
    "within": "it chooses a size; give --params one, or leave it out",
    "ram": "sizes are told by --params",
    "sweep": "it draws the score at one size; compare the values as arms, a=llama:KEY=VALUE",
}


def is_several(asked: dict[str, Any]) -> bool:
    """Whether a request to compare is one for several sizes."""
    words = (asked.get("params"), asked.get("tokens"))
    return any(isinstance(each, list | tuple) or "," in str(each) for each in words) or bool(asked.get("gate"))


def compare_sizes(
    targets: Sequence[str], *, params: Any, tokens: Any = None, gate: str | None = None,
    data: str | Sequence[str] = (), out: str | Path | None = None, dry_run: bool = False, quiet: bool = False,
    overrides: dict[str, Any] | None = None, save_seconds: float = 20.0, log: str | Sequence[str] = (),
    index: str | None = None, engine: str = "processes", **asked: Any,
) -> SizesReport | Sketch:  # fmt: skip
    """Compare architectures at several sizes: `compare_sizes(["llama", "gla"], params="100k,300k,1M")`.

    params    sizes in rising order, as "100k,300k,1M" or a sequence; finished ones are not repeated, others are added
    tokens    training tokens, or several numbers of them, each at every size
    gate      a condition on the arms, written down before the first run: "speedup>1 at 2 sizes"
    dry_run   plan and measure only: the answer is a Sketch
    others    as of `blockyard.compare`; not memory, minutes and sweep. `against` is the baseline, else the first arm
    """
    sizes, budgets, axis = _asked(params, tokens, gate, asked)
    condition = None if gate is None else parse_gate(gate)
    if condition is not None and condition.needed(len(sizes)) > len(sizes):
        raise UsageError(f"--gate {condition.text!r}: there are {len(sizes)} sizes; it can hold at no more")
    rest = {name: value for name, value in asked.items() if name not in (*NOT_HERE, "flops")}
    if not budgets:  # as many as the data or the task take
        usual = make_plan(request_of(targets, data, overrides, {**rest, "params": sizes[0]}), lambda _: None)
        budgets = (usual.matched[axis],)
    places = [place_of(size, budget, axis) for size in sizes for budget in budgets]
    requests = [
        request_of(targets, data, overrides, {**rest, "params": place.params, axis: place.budget}) for place in places
    ]
    watch = Watch(quiet)
    tell = [watch.say, *[_unsaid] * len(requests)]  # what is to be said of the data is the same at every size
    plans = [make_plan(request, say) for request, say in zip(requests, tell)]  # a mistake in any is told before all
    if len(plans[0].arms) < 2:
        raise UsageError("several sizes compare two architectures or more; name another one")
    plan = SizesPlan(
        arms=[arm.label for arm in plans[0].arms], baseline=_baseline(asked.get("against"), plans[0]),
        data=plans[0].data.hash, axis=axis, length=plans[0].same.length, batch=plans[0].same.batch, places=places,
        gate=condition, alpha=plans[0].alpha,
        asked={"looks": str(plans[0].looks), "margin": str(plans[0].margin), "tuning": plans[0].tuning},
    )  # fmt: skip
    wanted = list(zip(requests, plans))
    if dry_run:
        measured = [run_arms(*each, dry_run=True, how=How(quiet=True)) for each in wanted]
        found = [each for each in measured if isinstance(each, Plan)]
        sketch = Sketch(plan, found, [estimate(each) for each in found])
        watch.say(str(sketch))
        return sketch
    top = Path(out or Path("blockyard-out") / f"{folder_name(plan.arms)}-sizes")
    folder = Folder(top, plan)
    try:
        return _run(folder, wanted, watch, How(quiet, save_seconds, log, index, engine))
    finally:
        folder.close()


def _unsaid(_: str) -> None:
    pass


def _run(folder: Folder, wanted: Sequence[Wanted], watch: Watch, how: How) -> SizesReport:
    """The sizes in turn, each foreseen before it begins, then the whole."""
    plan, done = folder.plan, []
    for number, (place, (request, planned)) in enumerate(zip(plan.places, wanted), 1):
        if not folder.begun(place.folder):
            said = foresee(place, plan.baseline, [(each.place, each.report) for each in done])
            folder.foresee([said] if said else [])
        watch.say(f"{place.folder} ({number} of {len(wanted)})")
        at = folder.folder / place.folder
        report = run_arms(request, planned, out=at, how=how)
        assert isinstance(report, Report)
        done.append(Finished(place, report, at))
    found = [(each.place, each.report) for each in done]
    more = place_of(ONE_MORE * plan.sizes[-1], plan.budgets[-1], plan.axis)
    ahead = foresee(more, plan.baseline, found)
    if ahead and folder.begun(more.folder):  # by a plan that named it and was given up
        ahead = folder.foreseen(more.folder)
    elif ahead:
        folder.foresee([ahead])
    said = [(folder.foreseen(place.folder), report) for place, report in found]
    told = [held(each, report, plan.baseline) for each, report in said if each]
    return write(outcome(plan, done, told, ahead), folder.folder)


def place_of(params: float, budget: float, axis: str) -> Place:
    """A place with the name of its folder."""
    return Place(params, budget, f"{amount(params)}-params-{amount(budget)}-{axis}")


def _asked(
    params: Any, tokens: Any, gate: str | None, asked: dict[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Sizes, budgets (none: the usual one), and what the budgets are in."""
    for name, why in NOT_HERE.items():
        if asked.get(name):
            raise UsageError(f"--{name} does not go with several sizes: {why}")
    sizes = None if params is None else numbers.SIZES(params, "--params")
    budgets = None if tokens is None else numbers.SEVERAL_TOKENS(tokens, "--tokens")
    if not isinstance(sizes, tuple):
        what = "--gate is judged over" if gate else "several --tokens stand beside"
        raise UsageError(f"{what} several sizes; give them, for example --params 100k,300k,1M")
    flops = asked.get("flops")
    if flops is None:
        return sizes, budgets if isinstance(budgets, tuple) else () if budgets is None else (budgets,), "tokens"
    if budgets is not None:
        raise UsageError("--tokens and --flops both say how long to train; give one")
    return sizes, (numbers.FLOPS(flops, "--flops"),), "flops"


def _baseline(against: str | None, plan: Plan) -> str:
    """The arm that the others are held against: the one that was named, else the first."""
    labels = [arm.label for arm in plan.arms]
    if against is not None and against not in labels:
        raise unknown("arm", against, labels)
    return against or labels[0]
