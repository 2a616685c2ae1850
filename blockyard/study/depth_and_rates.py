"""Which norm placement and which residual rule survives depth and a wrong learning rate?

Source   none    Family  pages
Claim    rules that normalise what enters a sublayer stay trainable deeper and at larger rates than those that do not
Differs  every residual rule of a stream that keeps its width, in the body of llama, on the texts of CPython, at 8, 16
         and 32 layers; four rates, each six times the last, from one that is too small to one at which most diverge;
         sixty steps at 8 layers, twenty at 32, so that depths are compared by what lies above the best of each
"""

import math
from collections.abc import Mapping

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.report.depths import depths, last
from blockyard.compare.report.sheet import Picture, Sheet, Table
from blockyard.core import registry
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, better
from blockyard.study._pictures import Axes, Curve, frames

LAYERS = {8: "30k", 16: "20k", 32: "10k"}  # and the tokens of a run, since a deep one costs so much more
RATES = tuple(1e-3 * 6**i for i in range(4))  # at width 64
MOST = 2.5  # bits a byte above the best that are drawn
WIDER = ("append",)  # its stream grows with depth: of one size it has another width at each
NEAR = 1.05  # a rate is usable whose loss is within 5% of the best
DEEP = max(LAYERS)
DEEPEST = f"layers_{DEEP}"


def arms(layers: int) -> tuple[str, ...]:
    """Every rule in the same body, and the one placement that is a recipe of its own."""
    names = (name for name in registry.entries("residual") if name not in WIDER)
    rules = tuple(f"{name}=llama:layers={layers},residual={name}" for name in names)
    return (*rules, f"mix=mix_ln:layers={layers}")


def usable(arm: ArmReport) -> int:
    """How many of the rates come within 5% of the arm's best."""
    known = [loss for loss in arm.trials if loss is not None]
    return sum(loss <= NEAR * min(known) for loss in known) if known else 0


def near(arm: ArmReport, least: float) -> str:
    """How many of the rates come within 5% of the best loss of any rule at this depth."""
    return f"{sum(loss is not None and loss <= NEAR * least for loss in arm.trials)} of {len(RATES)}"


def at_least_as_wide(race: str, a: str, b: str) -> Prediction:
    """At least as many rates are usable for a as for b."""

    def judge(result: Report) -> Finding:
        ours, theirs = (usable(result.arm(arm)) for arm in (a, b))
        return Finding(HOLDS if ours >= theirs else FAILS, ours - theirs, 0.0)

    return Prediction(f"{race}: at least as many rates are usable for {a} as for {b}", race, judge)


def grows(race: str, a: str, b: str, times: float) -> Prediction:
    """The stream of a grows over depth by at least so many times what that of b does."""

    def judge(result: Report) -> Finding:
        found = [_growth(result.arm(arm)) for arm in (a, b)]
        if None in found:
            return Finding(OPEN, None, times)
        ratio = (found[0] or 0.0) / (found[1] or 1.0)
        return Finding(HOLDS if ratio >= times else FAILS, ratio, times)

    return Prediction(
        f"{race}: over depth the stream of {a} grows by {times:g} times what that of {b} does", race, judge
    )


def _growth(arm: ArmReport) -> float | None:
    """The size of the stream behind the last step over that behind the first."""
    seen = last(arm)
    ends = (seen[0].stream[0], seen[0].stream[-1]) if seen and seen[0].stream else (None, None)
    return ends[1] / ends[0] if ends[0] and ends[1] else None


def page(reports: Mapping[str, Report]) -> Sheet:
    """The losses of all rules over rates, a frame a rule, and how the deepest looked inside."""
    deepest = reports[DEEPEST]
    rates, names = deepest.plan.same.rates, [arm.name for arm in deepest.arms]
    places = {arm: [report.arm(arm) for report in reports.values()] for arm in sorted(names)}
    best = {name: _least(found) for name, found in reports.items()}
    curves = {
        arm: [
            Curve(f"{layers} layers", look, [(rate, None if x is None else x - least) for rate, x in tried])
            for look, (layers, found, least) in enumerate(zip(LAYERS, of, best.values()))
            for tried in [zip(rates, found.trials)]
        ]
        for arm, of in places.items()
    }
    axes = Axes("learning rate at width 64", f"{deepest.metric.unit} above the best of that depth", most=MOST)
    inside = zip(("stream", "massive", "gradient", "entropy"), depths(deepest))
    return Sheet(
        "Depth and rates", "Which norm placement and which residual rule survives depth and a wrong learning rate?",
        [
            Picture("rates", "Loss against the learning rate, by depth", "Trials on the tuning text, one seed each; a "
                    "flat, long curve forgives a wrong rate.", frames("rates", "Loss against rate", axes, curves)),
            *(Picture(name, f"{name.capitalize()} by depth, {DEEP} layers",
                      "The last look at the first seed's run, at its tuned rate.", svg) for name, svg in inside),
        ],
        _table(reports, sorted(names)),
    )  # fmt: skip


def _least(report: Report) -> float:
    """The best loss of any trial."""
    return min((loss for arm in report.arms for loss in arm.trials if loss is not None), default=math.inf)


def _table(reports: Mapping[str, Report], names: list[str]) -> Table:
    """Of every rule the losses at its own rate, how many rates are near the best, and what was seen in the deepest."""
    head = ["rule", *(f"loss, {n} layers" for n in LAYERS), *(f"rates near the best, {n}" for n in LAYERS),
            "stream, last / first", "gradient, first / last", "largest / median", "least entropy"]  # fmt: skip
    best = [_least(report) for report in reports.values()]
    rows = []
    for name in names:
        of = [report.arm(name) for report in reports.values()]
        losses = ["failed" if arm.score.mean is None else f"{arm.score.mean:.3f}" for arm in of]
        rows.append([name, *losses, *map(near, of, best), *_seen(of[-1])])
    order = {name: reports[DEEPEST].arm(name).score.mean for name in names}
    return Table(head, sorted(rows, key=lambda row: order[row[0]] or math.inf))


def _seen(arm: ArmReport) -> list[str]:
    """What the last look saw, in a few figures."""
    seen = last(arm)
    if seen is None:
        return ["–"] * 4
    look = seen[0]
    gradient = [each for each in look.gradient if each]
    massive = [each for each in look.massive if each is not None]
    entropy = [each for each in look.entropy if each is not None]
    growth = _growth(arm)
    return [
        "–" if growth is None else f"{growth:.3g}",
        f"{gradient[0] / gradient[-1]:.3g}" if gradient else "–",
        f"{max(massive):.3g}" if massive else "–",
        f"{min(entropy):.2f}" if entropy else "–",
    ]


def study() -> Study:
    shared = {"length": 64, "batch": 8, "seeds": 2, "rates": RATES}
    sizes = {layers: f"{19 * layers}k" for layers in LAYERS}
    races = tuple(
        Race(
            f"layers_{layers}",
            arms(layers),
            options={**shared, "params": size, "tokens": LAYERS[layers]},
            smallest=size,
        )
        for layers, size in sizes.items()
    )
    return Study(
        races=races,
        predictions=(
            better(DEEPEST, "prenorm", "postnorm"),
            at_least_as_wide(DEEPEST, "prenorm", "postnorm"),
            grows(DEEPEST, "prenorm", "postnorm", 2.0),
        ),
        page=page,
    )
