"""What the outcome of a comparison says, in sentences; the terminal and the page use the same ones."""

import math
from collections.abc import Callable
from typing import Any

from blockyard.compare.documents import ArmReport, Plan, Report
from blockyard.compare.outcome import ArmOutcome, Judgement, Outcome
from blockyard.compare.report.format import (
    brief,
    decimals,
    duration,
    either,
    few,
    gap,
    scope,
    shared,
    span,
    training,
)

ORACLE = "oracle"  # the reference that knows the answers


def sentences(report: Outcome[Any]) -> list[str]:
    """What the figures say, and what they cannot say."""
    return [sentence for found in places(report).values() for sentence in found]


def places(report: Outcome[Any]) -> dict[str, list[str]]:
    """The sentences by the place where they help, the answer first."""
    if isinstance(report, Judgement):
        return {"answer": _verdict(report), "budget": _could(report), "notes": _read(report), "hold": _counted(report)}
    assert isinstance(report, Report)
    return {
        "answer": _answer(report), "budget": _budget(report), "notes": _notes(report), "hold": _hold(report),
        "unequal": _unequal(report.arms), "along": _along(report),
    }  # fmt: skip


def _answer(report: Report) -> list[str]:
    """Which is best, at what price, and how far that reaches."""
    arms, unit = report.arms, report.metric.unit
    scored, best = report.scored, report.best
    if not scored:
        return ["No architecture finished a run, so nothing can be said about which is best."]
    if len(arms) == 1:
        runs = f", the mean of {len(report.seeds)} seeds" if len(report.seeds) > 1 else ""
        return [f"{arms[0].name}: {arms[0].score.mean:.{decimals(report)}f} {unit} on the test{runs}."]
    if len(report.seeds) < 2:
        return ["One seed gives no verdict: run at least 2, better 3 (--seeds)."]
    if len(scored) < 2 or not best:
        return ["No verdict: too few runs finished."]
    which = f"{either(best)}{' (this comparison cannot say which)' if len(best) > 1 else ''}"
    return ["; ".join([f"Best at equal {scope(report)}: {which}", *_price(report), *_reach(report, best)]) + "."]


def _price(report: Report) -> list[str]:
    """Which arms would be ahead if all had the same time."""
    if scope(report) == "time":
        return []
    if not report.along:
        return ["at equal time: not known"]
    minutes = report.along.minutes
    if not minutes:
        return ["all took about the same time"]
    ahead = minutes.best or [str(minutes.losses[0][0])]
    return [f"at equal time probably: {either(ahead)}"]


def _reach(report: Report, best: list[str]) -> list[str]:
    """Whether the best of now may be another with more training."""
    crossing = report.along.crossing if report.along else []
    touched = any(name in pair for pair in crossing for name in best)
    return ["with 4 times the tokens the order may change"] if touched else []


def share(report: Outcome[Any], difference: float) -> str:
    """A difference in the unit of the score; where that is a loss, also as a part of it."""
    text = f"{difference:.{decimals(report)}f}"
    if report.metric.share:
        return text
    loss = next(arm.score.mean for arm in report.arms if arm.score.mean is not None)
    return f"{text} ({difference / abs(loss):.1%})" if loss else text


def _untrained(report: Report) -> list[str]:
    """What was not trained here and has a better figure than the mean of every arm, by how little ever; who knows the
    answers does not count."""
    sign = 1 if report.metric.better == "lower" else -1
    means = [arm.score.mean for arm in report.arms if arm.score.mean is not None]
    if not means:
        return []
    best = min(sign * mean for mean in means)
    ahead = [
        f"{name} ({value:.{decimals(report)}f})"
        for name, value in report.references.items()
        if name != ORACLE and sign * value < best
    ]
    if not ahead:
        return []
    said = "needs no training of ours and scores" if len(ahead) == 1 else "need no training of ours and score"
    return [f"{' and '.join(ahead)} {said} better than the mean of every arm; whether by chance is not tested."]


def _budget(report: Report) -> list[str]:
    """What is ahead without training, what this budget could show, and what the margin needs."""
    lines, unit = _untrained(report), report.metric.unit
    if report.needed_difference and report.detectable:
        lines.append(
            f"This budget could show differences in {unit} of about {share(report, report.needed_difference)}, "
            f"and {share(report, report.detectable)} with 80% chance."
        )
    needed, margin = report.seeds_for_margin, f"To resolve {report.plan.margin:.1%} (your margin)"
    if not needed:
        return lines
    if needed.low is None:
        more = ""
        if needed.more_text:
            short = "the test text is too short" if report.plan.data.bytes else "the test is too short"
            more = f": {short}, about {math.ceil(needed.more_text)} times as much is needed"
        return [*lines, f"{margin} more seeds will not help{more}."]
    low, high = needed.low, needed.high if needed.high is not None else "more than 100"
    return [*lines, f"{margin}: {high if high == low else f'{low} to {high}'} seeds."]


def _mean_also(arm: ArmReport, name: str) -> float | None:
    """The mean over seeds of a further figure."""
    found = [value for said in arm.also if (value := said.get(name)) is not None]
    return sum(found) / len(found) if found else None


def _notes(report: Report) -> list[str]:
    """What stands beside the ranking."""
    arms, seeds, lines = report.arms, report.seeds, []
    if len(report.scored) > 1 and not report.against:
        lines.append("Arms that share a letter are not resolved.")
    if report.against:
        lines.append(f"Every arm is held against {report.against} only; ranks and letters say no more than that.")
    lines += [
        f"{', '.join(names)} are made of the same trained models: the training counts in the figures of each, and "
        "was done once; they are judged seed by seed against one another."
        for names in shared(arms)
    ]
    if report.references:
        told = ", ".join(f"{name} {value:.4f}" for name, value in report.references.items())
        lines.append(f"Without training, in {report.metric.unit}: {told}.")
    lines += _tuned(report.plan)
    for metric in report.plan.also:
        told = ", ".join(
            f"{arm.name} {value:.4g}" for arm in arms if (value := _mean_also(arm, metric.name)) is not None
        )
        lines.append(f"{metric.name} ({metric.unit}, {metric.better} is better): {told or 'none'}.")
    lines += _optimisers(report.plan)
    if any(arm.edge_of_grid for arm in arms):
        lines.append("* the best rate lies at the edge of the tuning grid.")
    if report.looks > 1:
        looks = report.plan.looks
        lines.append(
            f"Look {looks.index(len(seeds)) + 1} of {len(looks)} that were declared "
            f"({', '.join(map(str, looks))} seeds); the error is shared among all of them."
        )
    return [*lines, *(_failures(arm) for arm in arms if arm.failed), *_noisy(report)]


def _tuned(plan: Plan) -> list[str]:
    """What was chosen for references that try as many settings as arms try rates."""
    told = "; ".join(f"{name} {chosen}" for name, chosen in plan.reference_settings.items())
    said = f"tuned over {len(plan.same.rates)} settings, as every arm, on the same rows"
    return [f"Of these, {said}: {told}."] if told else []


def _optimisers(plan: Plan) -> list[str]:
    """What optimisers keep and what their steps take, where arms have different ones."""
    if len({arm.optimiser.partition(":")[0] for arm in plan.arms}) < 2:
        return []
    kept = ", ".join(
        f"{arm.label} {arm.optimiser_bytes / arm.params:.3g}" for arm in plan.arms if arm.optimiser_bytes is not None
    )
    steps = ", ".join(f"{arm.label} {duration(plan.speed[arm.id].step)}" for arm in plan.arms if arm.id in plan.speed)
    told = [f"bytes kept for each parameter: {kept}"] if kept else []
    told += [f"a step took, when measured: {steps}"] if steps else []
    return [f"Optimisers differ. {'; '.join(told)[:1].upper()}{'; '.join(told)[1:]}."] if told else []


def _failures(arm: ArmOutcome) -> str:
    """What an arm's failures say."""
    low, high = arm.failure_interval
    some = ": its mean is of the finished runs, and it can be called worse, never better" if arm.finished else ""
    return (
        f"{arm.name} failed in {arm.failed} of {arm.failed + arm.finished} runs "
        f"(true rate {low:.0%} to {high:.0%}){some}. Reason: {'; '.join(arm.reasons)}."
    )


def _noisy(report: Outcome[Any]) -> list[str]:
    """An arm of another spread than the others."""
    if not report.spread_ratio or report.spread_ratio <= 2:
        return []
    return [f"{report.noisiest} has {report.spread_ratio:.1f} times the spread of the others."]


def _hold(report: Report) -> list[str]:
    """How sure all verdicts are together, and of what."""
    if len(report.scored) < 2 or len(report.seeds) < 2:
        return []
    test = "test text" if report.plan.data.bytes else "test examples"
    return [
        f"These verdicts hold together at {1 - report.alpha:.0%}: in at most about 1 of {1 / report.alpha:.0f} "
        f"such comparisons does any of them err. They count seeds and {test}, not other data, sizes or budgets.",
        *looked(report.plan),
    ]


def looked(plan: Plan) -> list[str]:
    """What it costs that the runs were judged before, with other arms, seeds or margins."""
    if not plan.earlier:
        return []
    looks = len(plan.earlier) + 1
    return [
        f"This is look {looks} at these runs: the chance that any verdict of any of the {looks} errs is bounded by "
        f"{plan.error:.0%}, not {plan.alpha:.0%}. The earlier ones lie in earlier/."
    ]


def _along(report: Report) -> list[str]:
    """What the curves warn of."""
    if not report.along:
        return []
    minutes, crossing, lines = report.along.minutes, report.along.crossing, []
    if minutes:
        unit, factor = training(report)
        order = ", ".join(
            f"{name} {factor * loss:.3f}" + (f" ({span((factor * x for x in ends), '{:.3f}'.format)})" if ends else "")
            for name, loss, *ends in minutes.losses
        )
        own = any(ends for _, _, *ends in minutes.losses)
        lines.append(
            f"At equal time ({duration(60 * minutes.minutes)} a run{', by the speeds of these runs' if own else ''})"
            f" the training losses in {unit} would be about: {order}. An estimate from the middle of schedules, unkind "
            f"to the slower arms{'; in brackets the range over seeds' if own else ''}."
        )
    if crossing:
        pairs = "; ".join(f"{pair[0]} and {pair[1]}" for pair in crossing)
        lines.append(f"The order of these may change with 4 times the tokens: {pairs}.")
    return lines


def _unequal(arms: list[ArmReport]) -> list[str]:
    """What was not held equal, where it differs by more than a tenth."""
    found = []
    axes: tuple[tuple[str, Callable[[ArmReport], list[float]], Callable[[float], str]], ...] = (
        ("time a run", lambda arm: arm.times, duration),
        ("training operations", lambda arm: [arm.flops], brief),
        ("tokens", lambda arm: [arm.tokens], brief),
    )
    for name, of, form in axes:
        means = [(sum(of(arm)) / len(of(arm)), arm) for arm in arms]
        (least, low), (most, high) = (end(means, key=lambda pair: pair[0]) for end in (min, max))
        if most > 1.1 * least:
            found.append(f"{name} ({low.name} {span(of(low), form)}, {high.name} {span(of(high), form)})")
    return [f"NOT EQUAL: {'; '.join(found)}."] if found else []


def _family(judged: Judgement) -> bool:
    """Whether there are two arms that can be judged."""
    return sum(arm.rank is not None for arm in judged.arms) > 1


def _verdict(judged: Judgement) -> list[str]:
    """Which of anybody's arms may be the best, or how they stand to the baseline."""
    if not _family(judged):
        mend = "run them again, or give the samples that all of them scored (--pair)"
        return [f"No verdict: one run has no spread, and fewer than two arms have more than one; {mend}."]
    if judged.against:
        return [_beside(judged, judged.against)]
    best = judged.best
    if len(best) == 1:
        return [f"Best: {best[0]}."]
    which = "which of the two" if len(best) == 2 else f"which of the {len(best)}"
    return [f"Best: {few(best, 3, 'or')} (this table cannot say {which})."]


def _beside(judged: Judgement, base: str) -> str:
    """The arms that are better than the baseline, those that are worse, and how many are neither."""
    found: dict[str, list[str]] = {"better": [], "worse": []}
    others = [arm.name for arm in judged.arms if arm.name != base]
    for name in others:
        pair = gap(judged, name, base)
        if pair and pair.resolved:
            found["better" if pair.ahead else "worse"].append(name)
    said = [
        f"{few(names, 3) if len(names) < 4 else f'{len(names)} arms'} {'is' if len(names) == 1 else 'are'} {word}"
        for word, names in found.items() if names
    ]  # fmt: skip
    rest = len(others) - sum(map(len, found.values()))
    if not said:
        return f"No arm can be told apart from {base}."
    return f"Against {base}: {'; '.join(said)}{f'; {rest} cannot be told apart' if rest else ''}."


def _could(judged: Judgement) -> list[str]:
    """What differences these runs could show, and how many runs the margin needs."""
    lines, unit = [], judged.metric.unit
    if judged.needed_difference and judged.detectable:
        lines.append(
            f"These {'samples' if judged.source.samples else 'runs'} could show differences in {unit} of about "
            f"{share(judged, judged.needed_difference)}, and {share(judged, judged.detectable)} with 80% chance."
        )
    needed, margin = judged.seeds_for_margin, f"To resolve {judged.source.margin:.1%} (your margin)"
    if needed is None:
        return lines
    if needed.low is None:
        more = f": about {math.ceil(needed.more_text)} times the samples are needed" if needed.more_text else ""
        return [*lines, f"{margin} more runs will not help{more}."]
    low, high = needed.low, needed.high if needed.high is not None else "more than 100"
    return [*lines, f"{margin}: {high if high == low else f'{low} to {high}'} runs an arm."]


DESIGNS = {
    "unpaired": "No two arms share a run: every arm is judged by the spread of its own runs.",
    "seeds": "The arms share seeds, which explain nothing that could be told: runs are not paired by them.",
    "both": "Every arm has several runs, and all of them the same samples: both count.",
}


def _read(judged: Judgement) -> list[str]:
    """How the table was read, and what stands beside the verdicts."""
    source, arms = judged.source, judged.arms
    told = ", ".join(name if name == role else f"{role} = {name}" for role, name in source.columns.items())
    what = "samples" if source.samples else source.pairs
    paired = f"The arms are judged by their differences on the same {what}."
    lines = [f"Columns: {told}.", DESIGNS.get(source.design, paired)]
    single = [arm.name for arm in arms if arm.finished == 1 and arm.rank is None]
    if single:
        has = "has one run, so it" if len(single) == 1 else "have one run each, so they"
        lines.append(f"{few(single, 4)} {has} cannot be told apart from any other: one run has no spread.")
    if judged.against:
        lines.append(
            f"Every arm is held against {judged.against} only: of the others among themselves nothing is said."
        )
    elif len([arm for arm in arms if arm.rank]) > 1:
        lines.append("Arms that share a letter are not resolved.")
    lines += [note[0].upper() + note[1:] + ("" if note.endswith("?") else ".") for note in source.notes]
    return [*lines, *(_failures(arm) for arm in arms if arm.failed), *_noisy(judged)]


def _counted(judged: Judgement) -> list[str]:
    """How sure all verdicts are together, and of what."""
    if not _family(judged):
        return []
    source = judged.source
    all_of = f", over all {source.metrics} metrics" if source.metrics > 1 else ""
    counted = {
        "both": "runs and samples, not other settings, sizes or budgets",
        "paired": "the choice of samples, for these very runs: what training again would change is not counted",
    }
    runs = "the spread of runs, not other data, settings, sizes or budgets"
    what = counted.get(source.design, runs) if source.samples else runs
    return [
        f"These verdicts hold together at {1 - judged.alpha:.0%}{all_of}: in at most about 1 of {1 / judged.alpha:.0f} "
        f"such tables does any of them err. They count {what}."
    ]
