"""A plan and its outcome as a terminal shows them: tables and sentences, no line longer than a terminal is wide."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

from blockyard.compare.documents import Arm, ArmReport, Plan, Report
from blockyard.compare.outcome import ArmOutcome, JudgedArm, Judgement, Outcome
from blockyard.compare.report.format import (
    at_equal_time,
    became,
    becomes,
    brief,
    decimals,
    differs,
    duration,
    gap,
    given,
    interval,
    memory,
    of_training,
    own_rates,
    plural,
    same_for_all,
    scope,
    signed,
    span,
    told_apart,
    word,
)
from blockyard.compare.report.text import looked, sentences
from blockyard.core.numbers import clock

WIDE = 80  # characters a line
MOST = 24  # arms that a terminal shows


def fold(sentence: str) -> list[str]:
    """A sentence in lines that fit; what cannot be broken, as a path, stays whole."""
    return wrap(sentence, WIDE, break_long_words=False, break_on_hyphens=False)


def columns(rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Rows as columns, those named in `left` to the left; the first of these gives way where lines grow too long."""
    wide = [max(map(len, cells)) for cells in zip(*rows)]
    wide[left[0]] = max(8, wide[left[0]] - max(0, sum(wide) + 2 * (len(wide) - 1) - WIDE))
    cells = [
        [cell.ljust(width) for cell in told_apart(column, width)] if i in left else [x.rjust(width) for x in column]
        for i, (column, width) in enumerate(zip(zip(*rows), wide))
    ]
    return ["  ".join(row).rstrip() for row in zip(*cells)]


def grown(plan: Plan) -> str:
    """What is said of a plan that goes on from another."""
    kept = "finished runs of the same arms and budget are kept"
    return "\n".join(line for said in (f"This comparison grows: {kept}.", *looked(plan)) for line in fold(said))


def describe_plan(plan: Plan) -> str:
    """The plan as a person reads it before anything is spent."""
    from blockyard.compare.plan.plan import estimate  # loads the framework, which no verdict needs

    same = plan.same
    axes = ", ".join(f"{name} {amount:,.0f}" for name, amount in plan.matched.items())
    trials = 0 if plan.tuning == "none" else len(same.rates)
    equal = [f"{name} {value}" for name, value in same_for_all(plan).items()]
    equal += ["; ".join([f"learning rates {same.rates} x sqrt(64/dim)", *own_rates(plan)]), f"margin {plan.margin:.1%}"]
    each = "a seed" if plan.tuning == "nested" else "each"
    rows = [("arm", "params", "MFLOP/tok", "memory", "state at 8k", "tok/s", "tokens")]
    for arm in plan.arms:
        known = plan.speed.get(arm.id)
        rate = f"{same.step_tokens / known.step:,.0f}" if known else "-"
        steps = plan.steps.get(arm.id)
        tokens = f"{steps * same.step_tokens:,}" if known and steps else "-"
        costs = f"{arm.params:,}", f"{arm.flops_per_token / 1e6:.2f}", memory(arm.peak_bytes)
        rows.append((arm.label, *costs, _state(arm), rate, tokens))
    lines = [
        *fold(f"{plural(len(plan.arms), 'architecture')} on {plan.data.summary}"),
        *fold(f"matched: {axes}; {_seeds(plan)}, {plural(trials, 'tuning trial')} {each}"),
        *fold(f"same for all: {', '.join(equal)}"),
        *columns(rows, [0]),
        *_differences(plan),
        *_planned(plan),
        *_spent(plan),
    ]
    if plan.speed:
        how = f" (measured: {plan.measured})" if plan.measured else ""
        lines += fold(f"estimated time: {clock(estimate(plan))}{how}")
    return "\n".join(lines)


def _spent(plan: Plan) -> list[str]:
    """How a given time is spent: the ways that were weighed, and why it is the marked one."""
    night = plan.night
    if night is None:
        return []
    rows = [["size", "seeds", "tokens", "a parameter", "passes", "time", "memory", "tells apart"]]
    for split in night.others:
        split, own = (night.chosen, " *") if (split.params, split.seeds) == night.key else (split, "")
        told = f"{split.told:.2%}" if split.told is not None else "-"
        passes = f"{split.passes:.2g}" if split.passes is not None else "-"
        amounts = [brief(split.params) + own, str(split.seeds), brief(split.tokens), brief(split.tokens / split.params)]
        rows.append([*amounts, passes, clock(split.seconds), memory(split.peak), told])
    said = f"within {clock(night.within)}: * is chosen, {night.reason}. Told apart are differences of that share of the"
    return [
        "",
        *columns(rows, [0]),
        *fold(f"{said} loss, four times out of five; spread over seeds {night.noise}."),
        "",
    ]


def _seeds(plan: Plan) -> str:
    """The seeds of a plan, with its looks where there are several."""
    looks = plan.looks
    return plural(looks[0], "seed") if len(looks) == 1 else f"looks at {', '.join(map(str, looks))} seeds"


def _state(arm: Arm | ArmReport) -> str:
    """Bytes of state at 8,192 tokens; a dash where the arm cannot read so far."""
    held = arm.state_bytes["8192"]
    return "-" if held is None else memory(held)


def _differences(plan: Plan) -> list[str]:
    """A line for every arm that has more to it than the recipe it is called by."""
    return [line for label, words in differs(plan).items() if words for line in fold(f"{label}: {words}")]


def _planned(plan: Plan) -> list[str]:
    """A line for every transform of an arm: what it will cover, what it is shown, and whose training it shares."""
    lines = []
    for arm in plan.arms:
        for each in arm.then:
            lines += fold(f"{arm.label}: {plural(len(each.covers), 'part')} by {becomes(each)}{of_training(each)}")
    for base in {arm.base: None for arm in plan.arms if arm.then}:
        alike = [arm.label for arm in plan.arms if plan.base(arm).id == base]
        if len(alike) > 1:
            lines += fold(f"trained once for {', '.join(alike)}")
    return lines


def describe(report: Outcome[Any], whole: bool = False) -> str:
    """The ranking and what it means, as plain text; `whole`: with all rows of a judgement of many arms."""
    if isinstance(report, Judgement):
        return "\n\n".join(_judged(each, whole) for each in (report, *report.further))
    assert isinstance(report, Report)
    plan, found = report.plan, places_of_models(report)
    lines = [
        *fold(f"{plural(len(report.arms), 'architecture')} on {plan.data.name}: {given(plan)}, "
              f"{plural(len(report.seeds), 'seed')}"),
        "", *_ranking(report), *_costs(report), *_differences(plan), "",
        *(line for sentence in sentences(report) for line in fold(sentence)), "",
    ]  # fmt: skip
    if found:
        wide = max(len(name) for name, _ in found)
        lines += ["the best run of each:", *(f"{name:{wide}}  {where}" for name, where in found), ""]
    lines.append(f"report: {report.report or '-'}")
    return "\n".join(lines if plan.data.paths else [*lines, *fold(f"data: {plan.data.summary}")])


def _ranking(report: Report) -> list[str]:
    """Who can be where, by the verdicts, and what that took."""
    first, digits, timed = report.arms[0].name, decimals(report), at_equal_time(report)
    rows = [["arm", "rank", "", report.metric.unit, "behind the first", "time"]]
    rows[0] += ["equal time"] if timed else []
    for arm in report.arms:
        mean, pair = arm.score.mean, gap(report, arm.name, first)
        behind = "-"
        if pair:
            ends = interval(pair.low, pair.high, digits, "-").replace("+", "")
            behind = f"{signed(pair.difference, digits, '-')} {ends}".rstrip()
        row = [arm.name, rank(arm, "-"), arm.letters, "-" if mean is None else f"{mean:.{digits}f}", behind,
               duration(arm.time)]  # fmt: skip
        if timed:
            row.append(f"{timed[arm.name][0]}." if arm.name in timed else "-")
        rows.append(row)
    return [f"at equal {scope(report)}:", *columns(rows, [0, 1, 2, 4]), ""] if len(report.arms) > 1 else []


def _judged(judged: Judgement, whole: bool) -> str:
    """The verdict on anybody's runs."""
    metric, source, first = judged.metric, judged.source, judged.first
    digits = decimals(judged)
    alone = [arm for arm in judged.arms if arm.rank is None and arm.finished == 1 and arm.name != first]
    alone = alone if len(alone) < len(judged.arms) - 1 else []  # where all have one run, they are the table
    held = [arm for arm in judged.arms if arm not in alone]
    shown = held if whole or len(held) <= MOST + 6 else [*held[:MOST], *(a for a in held[MOST:] if a.name == first)]
    singles = ", ".join(f"{arm.name} {arm.score.mean or 0.0:.{digits}f}" for arm in alone)
    counted = plural(source.runs, "run") + (f", {source.samples:,} samples" if source.samples else "")
    about = f"{plural(len(judged.arms), 'arm')} in {source.name}, {counted}: {metric.name}, {metric.better} is better"
    rows = [_judged_row(judged, arm, digits) for arm in shown]
    rows = [["arm", "rank", "", metric.name, "difference", "", "", "runs"], *rows]
    bulky = max(len(row[0]) for row in rows) > 24  # names need the room of intervals; letters of many arms are no help
    without = {5} if bulky else set()
    without |= {1, 2} if judged.against else {2} if max(len(row[2]) for row in rows) > 6 else set()
    kept = [i for i in range(len(rows[0])) if i not in without]
    sides = [at for at, i in enumerate(kept) if i in (0, 1, 2, 5, 6)]
    return "\n".join([
        *fold(about), "", *columns([[row[i] for i in kept] for row in rows], sides),
        *fold(f"... and {len(held) - len(shown)} more (--out keeps all of them)" if len(shown) < len(held) else ""),
        *fold(f"one run: {singles}" if singles else ""), "",
        *(line for sentence in sentences(judged) for line in fold(sentence)),
        *(["", f"report: {judged.report}"] if judged.report else []),
    ])  # fmt: skip


def _judged_row(judged: Judgement, arm: JudgedArm, digits: int) -> list[str]:
    """Arm, rank, letters, score, the difference to the first with its interval, the verdict, runs."""
    pair, mean = gap(judged, arm.name, judged.first), arm.score.mean
    ends = interval(pair.low, pair.high, digits, "-").replace("+", "") if pair else ""
    behind = signed(pair.difference, digits, "-") if pair else "-"
    runs = f"{arm.finished}/{arm.finished + arm.failed}" if arm.failed else str(arm.finished)
    said = "" if arm.name == judged.first else word(pair)
    score = "-" if mean is None else f"{mean:.{digits}f}"
    return [arm.name, rank(arm, "-"), arm.letters, score, behind, ends, said, runs]


def rank(arm: ArmOutcome, dash: str) -> str:
    """1, or 2-4 where the verdicts leave several places open; a dash for an arm that has none."""
    return dash.join(map(str, dict.fromkeys(arm.rank))) if arm.rank else dash


def _costs(report: Report) -> list[str]:
    """What every arm costs and how it was trained."""
    rows = [("arm", "params", "MFLOP/tok", "train tok/s", "state at 8k", "lr", "runs")]
    for arm in report.arms:
        edge = "*" if arm.edge_of_grid else " "
        rate, runs = f"{arm.learning_rate:.2e}{edge}", f"{arm.finished}/{arm.finished + arm.failed}"
        pace = span(arm.speeds, brief) if len(arm.speeds) < 10 else brief(arm.speed)
        work = f"{arm.flops_per_token / 1e6:.2f}"
        rows.append((arm.name, f"{arm.params:,}", work, pace, _state(arm), rate, runs))
    return [*columns(rows, [0]), *_made(report.arms)]


def _made(arms: Sequence[ArmReport]) -> list[str]:
    """What became of trained models: the bytes of each, how fast it writes, and what its transforms say."""
    if not any(arm.made for arm in arms):
        return []
    rows = [("arm", "bytes saved", "tok/s written", "transforms take")]
    for arm in arms:
        written, made = arm.decode_tokens_per_s, arm.made
        rows.append((arm.name, memory(arm.model_bytes), brief(written) if written else "-",
                     duration(made.seconds) if made else "-"))  # fmt: skip
    return [
        "",
        *columns(rows, [0]),
        *(line for arm in arms for told in became(arm) for line in fold(f"{arm.name}: {told}")),
        "",
    ]


def places_of_models(report: Report) -> list[tuple[str, str]]:
    """How to name the model of every arm, and where it lies; nothing for a document that stands in no folder."""
    if not report.report:
        return []
    folder = Path(report.report).parent
    return [
        (f"{folder}:{arm.name}", f"seed {arm.model.seed}, {arm.model.folder}")
        for arm in report.arms if arm.model
    ]  # fmt: skip
