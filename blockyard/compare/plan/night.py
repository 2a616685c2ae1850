"""What to do with a given time: how large, how many seeds, how many tokens, and what that could tell apart.

    e(N)  = sum over arms of seconds of a step at N parameters, side by side on this machine; measured at two sizes
            and at each that was chosen by them, between and beyond these straight lines of log e over log N
    time  = e ((trials + seeds) n + 0.4 scored / step_tokens) + KEPT within + START + BENCH e        for n steps each
    sd    = 1.3% of the loss (N / 100k)^-0.15 (tokens / 250k)^-0.10     of a run over seeds; or what was found before
    found = the true difference that such runs resolve four times out of five (judge/power.py), as a share of the loss

The rule for sd is a fit to 170 arms of 2 or more seeds in the studies under results/: texts, 10k to 1M parameters
and 10k to 1M tokens. A single arm lies a factor of 2 or 3 beside it; other sizes are extrapolated, and what another
test text would change is not counted.
Recommended is the largest size that gets EACH tokens a parameter with the usual seeds, and of that the most seeds that
leave it as many; where no size gets them, the one that gets most. Everything is decided before the first run.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from blockyard.compare.documents import Plan, Report
from blockyard.compare.judge.power import Noise, default_seeds, detectable
from blockyard.compare.judge.spread import Part
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.compare.split import Night, Split
from blockyard.core.errors import UsageError
from blockyard.core.numbers import clock

SIZES = (50e3, 100e3, 200e3, 500e3, 1e6, 2e6, 5e6, 10e6, 20e6, 50e6, 100e6, 200e6, 500e6, 1e9)
ANCHORS = (100e3, 2e6)  # parameters, at which speeds are measured where the size is free
POINTS = 4  # sizes that are looked at, at most
SEEDS = (3, 5, 8)  # tried where the number is free; the usual one is tried first
EACH = 20  # tokens a parameter that a recommended size gets
FEWEST = 100  # steps of a run
KEPT, START, BENCH = 0.06, 15.0, 8.0  # of the time, seconds, and steps of all arms, for what is neither run nor score
SD, OF_SIZE, OF_TOKENS = 0.013, -0.15, -0.10
Look = Callable[[Plan], Plan]  # a plan with the speeds of its arms


@dataclass(frozen=True)
class Machine:
    """What was measured: by size the seconds of a step of all arms together, and the most bytes that training takes."""

    sizes: list[float]
    seconds: list[float]
    bytes: list[float]
    plan: Plan

    def step(self, params: float) -> float:
        """Seconds of a step of all arms."""
        return _between(self.sizes, self.seconds, params)

    def peak(self, params: float) -> float:
        """Bytes of all runs at once."""
        return _between(self.sizes, self.bytes, params)

    def with_point(self, params: float, seconds: float, peak: float) -> "Machine":
        """The same with another size that was measured; one that was known is measured anew."""
        points = {size: each for size, *each in zip(self.sizes, self.seconds, self.bytes)} | {params: [seconds, peak]}
        sizes = sorted(points)
        return replace(
            self, sizes=sizes, seconds=[points[size][0] for size in sizes], bytes=[points[size][1] for size in sizes]
        )


def _between(sizes: Sequence[float], values: Sequence[float], params: float) -> float:
    """Straight lines of logarithms through the points, the outer ones beyond them; with one point, that."""
    if len(sizes) < 2:
        return values[0]
    at = min(max(1, bisect_left(sizes, params)), len(sizes) - 1)
    slope = math.log(values[at] / values[at - 1]) / math.log(sizes[at] / sizes[at - 1])
    return values[at] * (params / sizes[at]) ** slope


def tonight(
    request: Request, look: Look, measure: Look, told: Callable[[str], None], before: Sequence[Report] = ()
) -> Night:
    """How to spend `request.within` seconds; UsageError, with the least that would do, where they are too few.

    look      gives a plan the speeds of its arms on this machine, quickly
    measure   the same for the size that was chosen, as exactly as is wanted: its tokens follow from that
    before    finished comparisons, whose spread over seeds is that of these runs too where the metric is the same
    """
    began = time.monotonic()
    machine = _machine(request, look, told)
    known = [each for each in before if each.metric == machine.plan.metric]
    splits = _splits(request, machine, _found(known))
    if not splits:
        raise UsageError(_least(request, machine))
    best, reason = _best(splits, len(machine.plan.arms), request)
    while best.params not in machine.sizes and len(machine.sizes) < POINTS:  # what is chosen is measured, not drawn
        seen = look(_plan(request, best))
        machine = machine.with_point(best.params, _of(seen), _peak(seen))
        splits = _splits(request, machine, _found(known)) or splits
        best, reason = _best(splits, len(machine.plan.arms), request)
    plan = measure(_plan(request, best))
    factor = _of(plan) / machine.step(best.params)  # whole steps against a part of them: of all sizes alike
    machine = replace(machine, seconds=[factor * each for each in machine.seconds])
    gone = time.monotonic() - began  # of the time that was given
    left = replace(request, within=given(request) - gone)
    exact = _split(left, best.params, best.seeds, _of(plan), plan, _found(known))
    if exact is None:
        raise UsageError(
            _least(request, replace(machine, sizes=[best.params], seconds=[_of(plan)], bytes=[best.peak]), gone)
        )
    if exact.tokens < EACH * exact.params <= best.tokens:
        reason += f" by a first look; measured itself it gets {exact.tokens / exact.params:.2g}"
    noise = f"as in {len(known)} finished comparisons beside it" if known else "by a rule of size and tokens (assumed)"
    chosen = replace(exact, seconds=exact.seconds + gone)
    others = [replace(each, seconds=each.seconds + gone) for each in _splits(left, machine, _found(known))]
    beside = [each for each in others if (each.params, each.seeds) != (chosen.params, chosen.seeds)]
    shown = sorted(_shown([*beside, chosen], chosen), key=lambda split: (split.params, split.seeds))
    return Night(given(request), _ram(request), chosen, shown, reason, noise, asked(request))


def given(request: Request) -> float:
    """The seconds that all of it may take."""
    return float(request.within or 0.0)


def _ram(request: Request) -> float | None:
    return None if request.ram is None else float(request.ram)


def asked(request: Request) -> dict[str, str]:
    """What was fixed beside the time, by name."""
    fixed = {name: getattr(request, name) for name in ("params", "memory", "tokens", "seeds", "tuning")}
    return {name: str(value) for name, value in fixed.items() if value is not None}


def spent(request: Request, night: Night) -> Request:
    """The request with the figures that were chosen."""
    size = {} if request.params or request.memory else {"params": night.chosen.params}
    return replace(request, **size, tokens=night.chosen.tokens, seeds=night.chosen.seeds)


def _plan(request: Request, split: Split) -> Plan:
    return make_plan(spent(request, Night(0.0, None, split, [], "", "", {})), lambda _: None)


def _machine(request: Request, look: Look, told: Callable[[str], None]) -> Machine:
    """The speeds at the size that is fixed, or at two."""
    free = request.params is None and request.memory is None
    plans = []
    for size in ANCHORS if free else (None,):
        at = replace(
            request, tokens=request.tokens or 1e6, seeds=request.seeds or 3, **({"params": size} if size else {})
        )
        plans.append(look(make_plan(at, told if not plans else lambda _: None)))
    sizes = ANCHORS if free else [max(arm.params for arm in plans[0].arms)]
    return Machine([float(size) for size in sizes], [_of(plan) for plan in plans], list(map(_peak, plans)), plans[0])


def _peak(plan: Plan) -> float:
    """Bytes of all runs at once."""
    return float(max(arm.peak_bytes for arm in plan.arms)) * plan.same.workers


def _of(plan: Plan) -> float:
    """Seconds of a step of all that is trained, the workers side by side."""
    return sum(plan.speed[arm.id].step for arm in plan.trained) / plan.same.workers


def _splits(request: Request, machine: Machine, found: float | None) -> list[Split]:
    """All ways that fit."""
    free = request.params is None and request.memory is None
    sizes = SIZES if free else machine.sizes
    counts = (
        [_fixed_seeds(request)]
        if request.seeds is not None
        else sorted({*SEEDS, default_seeds(len(machine.plan.arms))})
    )
    made = [
        _split(request, size, seeds, machine.step(size), machine.plan, found, machine.peak(size))
        for size in sizes for seeds in counts
    ]  # fmt: skip
    return [split for split in made if split is not None]


def _fixed_seeds(request: Request) -> int:
    """The most seeds of the looks that were asked for."""
    return int(str(request.seeds).split(",")[-1])


def _split(
    request: Request, size: float, seeds: int, step: float, plan: Plan, found: float | None, peak: float | None = None
) -> Split | None:
    """What fits at a size with so many seeds; None where that is too little, or takes more memory than there is."""
    within, ram = given(request), _ram(request)
    peak = _peak(plan) if peak is None else peak
    if ram is not None and peak > ram:
        return None
    trials, per_step = 0 if request.tuning == "none" else len(plan.same.rates), plan.same.step_tokens
    trials *= seeds if request.tuning == "nested" else 1
    scored = 0.4 * (trials * plan.data.scored["tune"] + seeds * plan.data.scored["final"]) / per_step
    fixed = KEPT * within + START + (BENCH + scored) * step
    steps = math.floor((within - fixed) / (step * (trials + seeds)))
    if request.tokens is not None:
        wanted = math.ceil(float(request.tokens) / per_step)
        steps = wanted if wanted <= steps else 0
    if steps < (1 if request.tokens is not None else FEWEST):  # a length that the user fixed is as short as it is
        return None
    tokens = float(request.tokens) if request.tokens is not None else _round(steps * per_step)
    seconds = fixed + step * (trials + seeds) * math.ceil(tokens / per_step)
    told = _told(size, tokens, seeds, len(plan.arms), request, found)
    return Split(size, seeds, tokens, seconds, told, peak, _passes(plan, tokens))


def _round(tokens: float) -> float:
    """Two digits, downwards: what can be typed again."""
    power = 10.0 ** (math.floor(math.log10(tokens)) - 1)
    return math.floor(tokens / power + 1e-9) * power


def _passes(plan: Plan, tokens: float) -> float | None:
    """How often the training text is read, where a token is a byte of it."""
    text = plan.data.bytes if plan.data.codec in (None, "bytes") else None
    return tokens / text["train"] if text else None


def _told(size: float, tokens: float, seeds: int, arms: int, request: Request, found: float | None) -> float | None:
    """The difference that is resolved four times out of five, as a share of the loss; none with one seed or one arm."""
    if seeds < 2 or arms < 2:
        return None
    sd = SD * (size / 100e3) ** OF_SIZE * (tokens / 250e3) ** OF_TOKENS if found is None else found
    noise = Noise(arms, math.inf, 2 * sd**2, Part(0.0, 31.0), request.alpha, request.against is not None)
    return detectable(noise, seeds)


def _found(before: Sequence[Report]) -> float | None:
    """The spread of a run over seeds in finished comparisons, as a share of the score: the median over their arms."""
    spreads = []
    for report in before:
        for arm in report.arms:
            own = [score for score in arm.score.per_seed if score is not None]
            if len(own) > 1 and arm.score.mean:
                mean = sum(own) / len(own)
                spreads.append(sum((x - mean) ** 2 for x in own) / (len(own) - 1) / mean**2)
    return math.sqrt(sum(spreads) / len(spreads)) if spreads else None


def _best(splits: Sequence[Split], arms: int, request: Request) -> tuple[Split, str]:
    """The recommended way, and why."""
    usual = default_seeds(arms) if request.seeds is None else _fixed_seeds(request)
    fed = [split for split in splits if split.tokens >= EACH * split.params]
    sizes = [split.params for split in fed if split.seeds == usual] or [split.params for split in fed]
    if not sizes:
        best = max(splits, key=lambda split: (split.tokens / split.params, split.seeds))
        return best, f"no size gets {EACH} tokens a parameter in this time; this one gets most"
    best = max((split for split in fed if split.params == max(sizes)), key=lambda split: split.seeds)
    return best, f"the largest size that gets {EACH} tokens a parameter, with the most seeds that leave it as many"


def _shown(splits: Sequence[Split], best: Split) -> list[Split]:
    """The chosen one, its other numbers of seeds, and the sizes around it with the same number."""
    sizes = sorted({split.params for split in splits})
    at = sizes.index(best.params)
    near = sizes[max(0, at - 2) : at + 3]
    return [
        split for split in splits if split.params == best.params or (split.params in near and split.seeds == best.seeds)
    ]


def _least(request: Request, machine: Machine, gone: float = 0.0) -> str:
    """Why nothing fits, with the least time that would do beside what is `gone`."""
    within, ram = given(request), _ram(request)
    size = min(SIZES) if request.params is None and request.memory is None else machine.sizes[0]
    if ram is not None and machine.peak(size) > ram:
        needed = f"{machine.peak(size) / 1e6:,.0f} MB"
        return f"--ram {ram / 1e6:,.0f}M is not enough: {size:,.0f} parameters take about {needed}"
    seeds = min(SEEDS) if request.seeds is None else _fixed_seeds(request)
    low, high = within, within * 2
    while _split(replace(request, within=high), size, seeds, machine.step(size), machine.plan, None, 0.0) is None:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) / 2
        fits = _split(replace(request, within=middle), size, seeds, machine.step(size), machine.plan, None, 0.0)
        low, high = (low, middle) if fits else (middle, high)
    return (
        f"--within {clock(within)} is too short: {size:,.0f} parameters, {seeds} seeds and {FEWEST} steps a "
        f"run of every arm take about {math.ceil((high + gone) / 60)}m"
    )
