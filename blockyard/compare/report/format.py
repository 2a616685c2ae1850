"""How the figures of a comparison are written, and those that follow from its document: time, speed, training loss."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from blockyard.compare.documents import Arm, ArmReport, Became, Plan, Report, Then
from blockyard.compare.outcome import Outcome
from blockyard.core import registry
from blockyard.core.spec import Spec, write_value

UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def brief(value: float, digits: int = 3, fixed: bool = False) -> str:
    """1234567 as 1.23M: a number of at most `digits` digits (or, fixed, of just as many) and a unit."""
    limit, unit = next(((x, u) for x, u in UNITS if abs(value) >= x * (1 - 0.5 * 10**-digits)), (1, ""))
    rounded = float(f"{value / limit:.{digits}g}") + 0.0
    return (f"{rounded:#.{digits}g}".rstrip(".") if fixed and rounded else f"{rounded:g}") + unit


def memory(value: float, fixed: bool = False) -> str:
    """Bytes as 12.3 MB."""
    text = brief(value, fixed=fixed and value >= 1000)
    return f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B"


def duration(seconds: float) -> str:
    """Seconds as 0.720 s, 113 s, 3.95 min or 2.50 h."""
    limit, unit = next(((x, u) for x, u in ((3600, "h"), (60, "min")) if seconds >= 2 * x), (1, "s"))
    return f"{brief(seconds / limit, fixed=True)} {unit}"


def plural(count: int, noun: str) -> str:
    """1 architecture, 2 architectures."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def either(names: Iterable[str]) -> str:
    """a, b or c."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def few(names: Sequence[str], most: int, last: str = "and") -> str:
    """a, b and c; of many the first of them and how many more there are."""
    shown = [*names] if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}" if len(shown) > 1 else shown[0]


def span(values: Iterable[float], form: Callable[[float], str]) -> str:
    """The least and the largest, or one of them where they are written alike."""
    found = sorted(values)
    low, high = form(found[0]), form(found[-1])
    return low if low == high else f"{low} to {high}"


def alike(ticks: Sequence[float], sign: str = "") -> Callable[[float], str]:
    """How to write ticks of one axis: all with the decimals that their step needs."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    return lambda value: f"{value:{sign if abs(value) > step / 2 else ''}.{places(ticks)}f}".replace("-", "−")


def places(ticks: Sequence[float]) -> int:
    """Decimals that the smallest step between ticks needs."""
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    return next((d for d in range(9) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 9)


def shorten(label: str, most: int = 20) -> str:
    """A label that fits."""
    return label if len(label) <= most else label[: most - 1] + "…"


def told_apart(labels: Sequence[str], most: int) -> list[str]:
    """Labels that fit: their beginnings, or their ends where the beginnings of two that differ are alike."""
    short = [shorten(each, most) for each in labels]
    if len(set(short)) == len(set(labels)):
        return short
    return [each if len(each) <= most else "…" + each[1 - most :] for each in labels]


def signed(value: float, digits: int, minus: str = "−") -> str:
    """A difference with its sign; nought has none."""
    text = f"{value:+.{digits}f}".replace("-", minus)
    return text if text.strip("+−-0.") else text[1:]


def plain(value: float, digits: int, minus: str = "−") -> str:
    """A figure whose sign is only told where it is below nought."""
    return signed(value, digits, minus).removeprefix("+")


def interval(low: float | None, high: float | None, digits: int, minus: str = "−") -> str:
    """An interval in brackets, or nothing."""
    return "" if low is None or high is None else f"[{signed(low, digits, minus)}, {signed(high, digits, minus)}]"


def decimals(report: Outcome[Any]) -> int:
    """Decimals of a score: two digits of what the comparison can tell apart, at least three decimals."""
    needed = report.needed_difference
    return min(6, max(3, 1 - math.floor(math.log10(needed)))) if needed else 4


@dataclass(frozen=True)
class Gap:
    """A pair seen from one of its arms: the other one's score is subtracted; `ahead` where this arm is the better."""

    difference: float
    low: float | None
    high: float | None
    p: float | None
    resolved: bool
    verdict: str
    ahead: bool


def gap(report: Outcome[Any], a: str, b: str) -> Gap | None:
    """The pair of two arms seen from a."""
    pair = report.by_names.get(frozenset((a, b)))
    if pair is None or a == b:
        return None
    said = (pair.p, pair.resolved, pair.verdict)
    if pair.a == a:
        return Gap(pair.difference, pair.low, pair.high, *said, ahead=True)
    low, high = (None if end is None else 0.0 - end for end in (pair.high, pair.low))
    return Gap(0.0 - pair.difference, low, high, *said, ahead=False)


def word(pair: Gap | None) -> str:
    """The verdict on a pair as it reads from its first arm."""
    if pair is None or pair.p is None:
        return "no verdict"
    if not pair.resolved:
        return pair.verdict
    return pair.verdict if pair.ahead else pair.verdict.replace("better", "worse")


def training(report: Report) -> tuple[str, float]:
    """The unit that training losses are shown in, and what one nat of them is in it."""
    told = report.plan.data.training
    return told.unit, told.per_nat


def scope(report: Report) -> str:
    """What the arms were matched on, by the name of what was trained with: tokens, operations or time."""
    names = {"tokens": "tokens", "flops": "operations", "minutes": "time"}
    return next(name for axis, name in names.items() if axis in report.plan.matched)


def given(plan: Plan) -> str:
    """What every arm got: 1M params and 2M tokens each."""
    names = {"params": "parameters", "memory": "bytes of memory", "flops": "training operations"}
    each = [f"{brief(value, 6)} {names.get(axis, axis)}" for axis, value in plan.matched.items()]
    return f"{' and '.join(each)} each"


def same_for_all(plan: Plan) -> dict[str, Any]:
    """What all arms share, by name, but for the rates; with the arms that are trained by something of their own."""
    listed = {key: value for key, value in vars(plan.same).items() if key not in ("rates", "rate_rule")}
    for key in ("optimiser", "schedule"):
        own = [f"{arm.label} by {getattr(arm, key)}" for arm in plan.arms if getattr(arm, key)]
        listed[key] = "; ".join([listed[key], *own])
    return listed


def own_rates(plan: Plan) -> list[str]:
    """The arms whose grid of rates is that of all, times a factor that their optimiser has."""
    return [f"times {arm.rates:g} for {arm.label}" for arm in plan.arms if arm.rates != 1]


def at_equal_time(report: Report) -> dict[str, tuple[int, float]] | None:
    """Place and training loss of every arm when the quickest has ended; None where that is not told."""
    if report.along is None or report.along.minutes is None:
        return None
    return {name: (place, loss) for place, (name, loss, *_) in enumerate(report.along.minutes.losses, start=1)}


def becomes(then: Then) -> str:
    """A transform as it is typed, without what it has by itself."""
    schema, settings = registry.find("transform", then.name).schema, dict(Spec.from_json(then.transform).settings)
    own = [f"{key}={_written(value)}" for key, value in settings.items() if value != schema.get(key)]
    return f"{then.name}:{','.join(own)}" if own else then.name


def of_training(step: Then | Became) -> str:
    """What a transform is told of the training data, as words behind others; empty: nothing."""
    return f", {'trained on' if step.trains else 'shown'} {step.tokens:,} training tokens" if step.tokens else ""


def _written(value: Any) -> str:
    """A setting of a transform as it is typed."""
    return f"({','.join(map(write_value, value))})" if isinstance(value, tuple) else write_value(value)


def shared(arms: Sequence[ArmReport]) -> list[list[str]]:
    """The names of arms that share a training, those of each together, where they are several."""
    found: dict[str, list[str]] = {}
    for arm in arms:
        found.setdefault(arm.base or arm.name, []).append(arm.name)
    return [names for names in found.values() if len(names) > 1]


def became(arm: ArmReport) -> list[str]:
    """What transforms made of an arm's best run: what they covered and passed over, and what they were shown."""
    told = []
    for step in arm.made.steps if arm.made else []:
        kinds = Counter(step.covered.values())
        done = "; ".join(f"{plural(count, 'part')} {what}" for what, count in kinds.items())
        left = f", not {', '.join(step.left[:4])}{', ...' if step.left[4:] else ''}" if step.left else ""
        told.append(f"{step.name}: {done}{left}{of_training(step)}")
    return told


def adapters(arm: Arm) -> list[str]:
    """The transforms whose attachments alone an arm trains, beside the model that it goes on from."""
    program = arm.system.get("settings", {}).get("program", ()) if arm.init else ()
    return [each["name"] for phase in program for each in phase["settings"].get("apply", ())]


def folder_of(arm: Arm) -> str:
    """What an arm is called in the name of a folder: one that goes on leaves that alone which it began from."""
    return "+".join([arm.label, *(adapters(arm) or ["on"])]) if arm.init else arm.label


def differs(plan: Plan) -> dict[str, str]:
    """Of every arm, by its label, what sets it apart from the others: its recipe where the label hides it, settings."""
    said = {arm.label: arm.overrides for arm in plan.arms}
    common = set.intersection(*(set(own.items()) for own in said.values()))
    found, seen = {}, {}
    for arm in plan.arms:
        own = [f"{key}={value}" for key, value in said[arm.label].items() if (key, value) not in common]
        words = [arm.name] if arm.name != arm.label.partition("|")[0].partition("@")[0] else []
        own += [f"goes on from {arm.init}, model {arm.system['settings']['init'][:12]}"] if arm.init else []
        own += [f"trains {', '.join(adapters(arm))} alone"] if adapters(arm) else []
        own += [f"@{arm.optimiser}"] if arm.optimiser and "@" not in arm.label else []
        own += [f"| {becomes(each)}" for each in arm.then] if "|" not in arm.label else []
        other = seen.setdefault(arm.hash, arm.label)
        same = [f"(the same as {other})"] if other != arm.label else []
        found[arm.label] = " ".join(words + own + same)
    return found
