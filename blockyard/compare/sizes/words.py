"""What several sizes say, in sentences and tables; the terminal and the page use the same ones."""

import math

from blockyard.compare.judge.speedup import Range
from blockyard.compare.report.format import brief, either, plural
from blockyard.compare.report.terminal import columns, fold
from blockyard.compare.sizes.documents import ArmAt, Foreseen, Gate, Place, SizesPlan, SizesReport, Sketch
from blockyard.compare.sizes.foresee import BRACKET, LAW
from blockyard.compare.sizes.gate import levels
from blockyard.core.numbers import clock

RULES = {
    LAW: "by the fit over sizes",
    BRACKET: "between no further gain and the fall between the last two sizes going on",
    "same": "no worse than at that size, with one size to go by",
}


def describe(report: SizesReport) -> str:
    """The tables and what they mean, as plain text."""
    shown = [["size", "arm", report.metric.unit, "", "speed-up", "", "verdict"], *rows(report)]
    used = [i for i in range(7) if i < 4 or any(row[i] not in ("", "-") for row in shown[1:])]
    return "\n".join([
        *fold(asked_of(report)), "", *columns([[row[i] for i in used] for row in shown], [1, 0, len(used) - 1]), "",
        *(line for sentence in sentences(report) for line in fold(sentence)),
        *(["", f"report: {report.report}"] if report.report else []),
    ])  # fmt: skip


def describe_sketch(sketch: Sketch) -> str:
    """What a dry run found: a line for every size, and the sum."""
    shown = [["size", "arms", "parameters", "tokens", "seeds", "hours"]]
    for place, plan, seconds in zip(sketch.plan.places, sketch.plans, sketch.seconds):
        tokens = sorted(steps * plan.same.step_tokens for steps in plan.steps.values())
        params = sorted(arm.params for arm in plan.arms)
        ends = [brief(each[0]) if each[0] == each[-1] else f"{brief(each[0])}-{brief(each[-1])}"
                for each in (params, tokens) if each]  # fmt: skip
        shown.append([brief(place.params), str(len(plan.arms)), *ends, str(len(plan.seeds)), f"{seconds / 3600:.3f}"])
    whole = sum(sketch.seconds)
    gate = [f"gate: {sketch.plan.gate.text}, against {sketch.plan.baseline}"] if sketch.plan.gate else []
    return "\n".join([*columns(shown, [0]), *gate, f"estimated time: {clock(whole)} ({whole / 3600:.2f} hours)"])


def asked_of(report: SizesReport) -> str:
    """What was compared on what."""
    plan = report.plan
    many = f"{plural(len(plan.arms), 'architecture')} at {plural(len(plan.sizes), 'size')}"
    return f"{many} on {report.data}, {given(plan)}, against {plan.baseline}"


def given(plan: SizesPlan) -> str:
    """What every arm got at every size."""
    budgets = either(brief(each, 6) for each in plan.budgets)
    return f"{budgets} {_units(plan)} each"


def _units(plan: SizesPlan) -> str:
    return "tokens" if plan.axis == "tokens" else "training operations"


def rows(report: SizesReport) -> list[list[str]]:
    """Size, arm, score, its interval, speed-up, its interval, verdict."""
    digits = _digits(report)
    found = []
    for size in sorted(report.sizes, key=lambda each: (each.place.params, each.place.budget)):
        for arm in size.arms:
            score = arm.score
            own = (
                "" if score.low is None or score.high is None else f"[{score.low:.{digits}f}, {score.high:.{digits}f}]"
            )
            mean = "-" if score.mean is None else f"{score.mean:.{digits}f}"
            found.append([named(report.plan, size.place), arm.name, mean, own, *_speedup(arm), arm.verdict])
    return found


def _digits(report: SizesReport) -> int:
    """Decimals of a score: two digits of what the sizes can tell apart."""
    needed = [size.needed_difference for size in report.sizes if size.needed_difference]
    return min(6, max(3, 1 - math.floor(math.log10(min(needed))))) if needed else 4


def named(plan: SizesPlan, place: Place) -> str:
    """A size, with its budget where there are several."""
    said = brief(place.params)
    return said if len(plan.budgets) == 1 else f"{said}, {brief(place.budget)}"


def _speedup(arm: ArmAt) -> list[str]:
    """A speed-up and its interval."""
    if arm.speedup is None:
        return ["-", ""]
    return [factor(arm.speedup.value), within(arm.speedup)]


def factor(value: float) -> str:
    """A factor in three digits; beyond a thousand only that it is."""
    return f"{value:.3g}" if 1e-3 <= value < 1000 else "over 1000" if value > 1 else "below 0.001"


def within(found: Range) -> str:
    """The interval of a factor; an end that is not known is a word."""
    if found.low is None:
        return ""
    return f"[{factor(found.low) if found.low else '0'}, {'open' if found.high is None else factor(found.high)}]"


def sentences(report: SizesReport) -> list[str]:
    """What the figures say, and what they cannot say."""
    return [*answer(report), *gate_words(report), *_crossings(report), *_laws(report), *held_words(report),
            *ahead_words(report), *report.notes, *_hold(report)]  # fmt: skip


def answer(report: SizesReport) -> list[str]:
    """Which is best at every size, with the largest budget."""
    plan, sizes = report.plan, report.at_most()
    where = f" with {brief(plan.budgets[-1], 6)} {_units(plan)}" if len(plan.budgets) > 1 else ""
    led = {tuple(size.best) for size in sizes}
    if len(led) == 1 and len(sizes[0].best) == 1:
        return [f"Best at every size{where}: {sizes[0].best[0]}."]
    said = [f"at {brief(size.place.params)} {either(size.best) if size.best else 'no verdict'}" for size in sizes]
    return [f"Best{where}: {'; '.join(said)}."]


def gate_words(report: SizesReport) -> list[str]:
    """The gate, what became of it, and how often it errs."""
    gate = report.plan.gate
    if gate is None:
        return []
    said = "; ".join(f"{each.arm} {each.answer} ({', '.join(each.by_size)})" for each in report.gate)
    return [f"Gate {gate.text!r}{_against(report, gate)}: {said}.", error_of(report, gate)]


def _against(report: SizesReport, gate: Gate) -> str:
    return "" if gate.quantity == "score" else f" against {report.plan.baseline}"


def error_of(report: SizesReport, gate: Gate) -> str:
    """How often the gate is passed by an arm that does not meet it."""
    plan, sizes = report.plan, len(report.at_most())
    level = levels(gate, plan.alpha, len(plan.arms), sizes)[0]
    looks = f", over {1 + len(plan.earlier)} looks at these sizes" if plan.earlier else ""
    return (
        f"Any arm that does not meet it passes with a chance of at most {plan.error:.2g}{looks}: at every size "
        f"counts one side of an interval of {1 - level:.1%} (Bonferroni over the sizes that would have to err)."
    )


def _crossings(report: SizesReport) -> list[str]:
    words = {
        "lost": "{} led {} at a smaller size and is behind it at the largest.",
        "gone": "{} led {} at a smaller size; the lead shrinks with size and is not told any more at the largest.",
        "fades": "The lead of {} over {} shrinks with size: at 4 times the largest it may be gone.",
    }
    return [words[each.kind].format(each.ahead, each.behind) for each in report.crossings]


def _laws(report: SizesReport) -> list[str]:
    """The fits, in their letters."""
    found = []
    for law in report.laws:
        t = law.terms
        if "exponent" in t:
            says = f"{t['floor'].value:.4g} + {t['factor'].value:.4g} N^-{t['exponent'].value:.3g}"
            found.append(f"L(N) of {law.arm}: {says}, exponent {_ends(t['exponent'])}, floor {_ends(t['floor'])}.")
        else:
            says = (f"{t['floor'].value:.4g} + {t['by_size'].value:.4g} N^-{t['size_exponent'].value:.3g} + "
                    f"{t['by_tokens'].value:.4g} D^-{t['tokens_exponent'].value:.3g}")  # fmt: skip
            ends = f"exponents {_ends(t['size_exponent'])} and {_ends(t['tokens_exponent'])}"
            found.append(f"L(N, D) of {law.arm}: {says}, {ends}.")
    return [*found, "Nominal 95% intervals of fits cover about 90%."] if found else []


def _ends(found: Range) -> str:
    low, high = found.low or 0.0, found.high or 0.0
    return f"{low:.3g} to {high:.3g}"


def held_words(report: SizesReport) -> list[str]:
    """How many predictions held."""
    scores = [arm for each in report.held for arm in each.arms if arm.inside is not None]
    verdicts = [arm for each in report.held for arm in each.arms if arm.right is not None]
    if not scores and not verdicts:
        return []
    inside, right = sum(arm.inside is True for arm in scores), sum(arm.right is True for arm in verdicts)
    said = [f"{inside} of {plural(len(scores), 'score')} lies in its interval" if len(scores) == 1 else
            f"{inside} of {len(scores)} scores lie in their intervals"] if scores else []  # fmt: skip
    said += [f"{right} of {plural(len(verdicts), 'verdict')} came as said"] if verdicts else []
    return [f"Predictions written down before each size was run: {', '.join(said)}."]


def ahead_words(report: SizesReport) -> list[str]:
    """What is predicted of one size more."""
    if report.ahead is None:
        return []
    said = "; ".join(predicted(report.ahead, _digits(report)))
    (rule, *_) = [arm.rule for arm in report.ahead.arms]
    return [f"Predicted at {brief(report.ahead.place.params)}, {RULES[rule]}: {said}."]


def predicted(ahead: Foreseen, digits: int) -> list[str]:
    """Each arm's predicted score and verdict."""
    found = []
    for arm in ahead.arms:
        score = "" if arm.score is None else f" {arm.score.value:.{digits}f} {ends_of(arm.score, digits)}"
        found.append(f"{arm.name}{score}{f', {arm.verdict}' if arm.verdict else ''}")
    return found


def ends_of(found: Range, digits: int) -> str:
    """An interval, or the one end that it has."""
    if found.low is None:
        return f"(at most {found.high:.{digits}f})" if found.high is not None else ""
    return f"[{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _hold(report: SizesReport) -> list[str]:
    """What the intervals promise."""
    plan = report.plan
    if not any(arm.speedup or arm.gap for size in report.sizes for arm in size.arms):
        return []
    what = f"all {plural(len(report.sizes), 'size')}" if len(plan.budgets) == 1 else "all sizes and numbers of tokens"
    said = [f"Speed-ups hold together over all arms and {what} ({1 - plan.alpha:.0%}, Bonferroni over the sizes)."]
    if plan.earlier:
        said.append(
            f"These sizes were looked at {1 + len(plan.earlier)} times; any gate errs by at most {plan.error:.2g}."
        )
    return said
