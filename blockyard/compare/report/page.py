"""The report as one page: HTML with its style, pictures and few lines of script inside, so that it needs no network."""

import json
import shlex
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from blockyard.compare.documents import Arm, ArmReport, Plan, Report, Then
from blockyard.compare.judge.tuning import RATES
from blockyard.compare.outcome import Judgement, Outcome
from blockyard.compare.report import figures as pictures
from blockyard.compare.report.depths import depths
from blockyard.compare.report.exhibits import also, exhibits
from blockyard.compare.report.figures import Axis, indices
from blockyard.compare.report.format import (
    adapters,
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
    own_rates,
    plain,
    plural,
    same_for_all,
    scope,
    signed,
    span,
    training,
)
from blockyard.compare.report.judged import judged_page
from blockyard.compare.report.sweep import sweeps
from blockyard.compare.report.terminal import places_of_models, rank
from blockyard.compare.report.text import places
from blockyard.compare.report.verdicts import forest, glyph, matrix, pair_notes, strip
from blockyard.core.files import strict

ALPHA = 0.05  # what `compare` takes unless told otherwise


def render(report: Outcome[Any]) -> str:
    """The page of a verdict's JSON document; the same document gives the same bytes."""
    if isinstance(report, Judgement):
        return _template().render(**judged_page(report))
    assert isinstance(report, Report)
    return _template().render(**_page(report))


@lru_cache(maxsize=1)
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return page.get_template("page.html")


def _page(report: Report) -> dict[str, Any]:
    """All that the template fills in. Pictures are markup already; everything else is escaped by the template."""
    plan, digits = report.plan, decimals(report)
    kept = "text" if plan.data.bytes else "examples"
    said, lengths, timed = places(report), impossible(report), at_equal_time(report)
    ranked = [arm for arm in report.arms if arm.score.mean is not None]
    names = [(arm.name, Markup(glyph(indices(report)[arm.name]))) for arm in report.arms]
    axes = _axes(report.arms) if ranked and len(names) > 1 else []
    return {
        "data": report, "plan": plan, "said": said, "names": names, "noun": "architecture", "made": "a comparison",
        "dense": False, "chance": f"seeds and test {kept} together", "kept": kept,
        "title": " · ".join(arm.name for arm in report.arms), "facts": facts(report),
        "kicker": f"{plural(len(report.arms), 'architecture')} on {plan.data.name}: {given(plan)}",
        "rows": [_row(report, arm, digits) for arm in report.arms], "scope": scope(report), "timed": bool(timed),
        "models": places_of_models(report), "training_unit": training(report)[0],
        "first": ranked[0].name if ranked else None,
        "margin": f"{report.margin:.{digits}f}" if report.margin else None,
        "forest": forest(report, report.arms), "matrix": matrix(report, report.arms, digits) if report.pairs else None,
        "pair_notes": pair_notes(report.pairs),
        "pareto": [(axis.name, Markup(pictures.against(report, axis, i))) for i, axis in enumerate(axes)],
        "target": _target(report),
        "curves": [Markup(svg) for late in (False, True) if (svg := pictures.curves(report, late))],
        "lengths": Markup(pictures.lengths(report, lengths) or ""), "impossible": lengths, "reached": _reached(plan),
        "also": _also(report), "exhibits": _exhibits(report),
        "decodes": any(arm.decode_tokens_per_s for arm in report.arms),
        "states": any(arm.state_bytes["8192"] is not None for arm in report.arms),
        "inside": _inside(report), "depths": [Markup(svg) for svg in depths(report)],
        "sweeps": [Markup(svg) for svg in sweeps(report)],
        "tuning": _tuning(report), "untuned": _untuned(plan),
        "equal": held_equal(plan), "budgets": _budgets(report),
        "command": command(plan), "beyond": _beyond(plan), "versions": sorted(plan.versions.items()),
        "json": json.dumps(strict(plan.to_json()), indent=1),
    }  # fmt: skip


def _also(report: Report) -> dict[str, Any] | None:
    """The table of the further figures of the same predictions."""
    rows = [
        {"name": arm.name, "glyph": Markup(glyph(indices(report)[arm.name])), "cells": cells}
        for arm, cells in also(report, lambda value: f"{value:.4g}")
    ]
    return {"rows": rows, "metrics": report.plan.also} if report.plan.also else None


def _exhibits(report: Report) -> list[dict[str, Any]]:
    """What the best run of each arm left to look at, by title; a drawing of all of them has no name."""
    index = indices(report)
    return [
        {
            "title": title,
            "of": [
                (arm and arm.name, Markup(glyph(index[arm.name])) if arm else None, Markup(drawn))
                for arm, drawn in shown
            ],
        }
        for title, shown in exhibits(report)
    ]


def facts(report: Report) -> list[tuple[str, str, str]]:
    """What was asked, in a few tiles: name, figure, small print."""
    plan = report.plan
    same, matched, params = plan.same, plan.matched, [arm.params for arm in report.arms]
    budget: dict[str, str] = {
        "tokens": "training tokens each",
        "flops": "training operations each",
        "minutes": "minutes each",
    }
    spent = [(brief(value), budget[axis]) for axis, value in matched.items() if axis in budget]
    seeds = ", ".join(map(str, report.seeds))
    text, rows, about = plan.data.bytes, plan.data.rows, "fresh examples at every step"
    if text:
        about = f"trained on {memory(text['train'])}, tested on {memory(text['test'])}"
    elif rows:
        about = f"trained on {rows['train']:,} rows, tested on {rows['test']:,}"
    return [
        ("Data" if text or rows else "Task", plan.data.name, about),
        ("Parameters", brief(matched["params"]) if "params" in matched else brief(max(params)),
         f"from {min(params):,} to {max(params):,}" if len(params) > 1 else f"{params[0]:,}"),
        ("Budget", spent[0][0] if spent else "-", spent[0][1] if spent else ""),
        ("Seeds", str(len(report.seeds)), f"for every arm: {seeds}" if len(seeds) < 30 else "for every arm"),
        ("Runs", f"{sum(arm.finished for arm in report.arms)} of {len(report.arms) * len(report.seeds)}",
         "final runs finished"),
        ("Where", str(same.device), f"{same.precision}, length {same.length:,}, batch {same.batch:,}"),
    ]  # fmt: skip


def _row(report: Report, arm: ArmReport, digits: int) -> dict[str, Any]:
    """A row of the ranking."""
    losses = [x for other in report.arms for x in other.score.per_seed if x is not None]
    index, mean = indices(report)[arm.name], arm.score.mean
    pair = gap(report, arm.name, report.arms[0].name)
    state, timed, (_, factor) = arm.state_bytes["8192"], at_equal_time(report) or {}, training(report)
    return {
        "index": index, "glyph": Markup(glyph(index)), "name": arm.name,
        "differs": "; ".join(filter(None, [differs(report.plan)[arm.name], *became(arm)])),
        "letters": arm.letters, "candidate": arm.candidate, "status": arm.status,
        "rank": rank(arm, "–"),
        "mean": "–" if mean is None else f"{mean:.{digits}f}",
        "strip": Markup(strip(arm, index, (min(losses), max(losses)))) if losses else "",
        "behind": signed(pair.difference, digits) if pair else "–",
        "interval": interval(pair.low, pair.high, digits) if pair else "",
        "params": brief(arm.params, fixed=True), "flops": brief(arm.flops_per_token / 1e6, fixed=True),
        "time": duration(arm.time), "times": span(arm.times, duration),
        "place": f"{timed[arm.name][0]}." if arm.name in timed else "–",
        "then": f"{factor * timed[arm.name][1]:.3f}" if arm.name in timed else "",
        "train": _rounded(arm.speed),
        "trains": span(arm.speeds, _rounded), "decode": _rounded(arm.decode_tokens_per_s),
        "peak": memory(arm.peak_bytes, fixed=True),
        "state": "not possible" if state is None else memory(state, fixed=True),
        "rate": f"{arm.learning_rate:.2e}".replace("e-0", "e-"), "edge": "*" if arm.edge_of_grid else "",
        "runs": f"{arm.finished} of {arm.finished + arm.failed}", "failed": bool(arm.failed),
    }  # fmt: skip


def _rounded(value: float | None) -> str:
    """Three digits and separators: 10,800."""
    if value is None:
        return "–"
    return f"{float(f'{value:.3g}'):,.{0 if value >= 99.95 else 1}f}"


def _axes(arms: list[ArmReport]) -> list[Axis]:
    """What quality is drawn against. Parameters that were matched would say nothing: operations a token then."""
    params = [arm.params for arm in arms]
    costs = Axis("Work", "operations a token", lambda arm: arm.flops_per_token)
    if max(params) > 1.05 * min(params):
        costs = Axis("Size", "parameters", lambda arm: arm.params)
    axes = [
        Axis("Training speed", "training tokens/s", lambda arm: arm.speed, more=True),
        Axis("Decoding speed", "decoding tokens/s", lambda arm: arm.decode_tokens_per_s, more=True),
        costs,
        Axis("State", "state at 8,192 tokens", lambda arm: arm.state_bytes["8192"], form=memory,
             missing="cannot read 8,192 tokens"),
    ]  # fmt: skip
    return [axis for axis in axes if any(axis.of(arm) is not None for arm in arms)]


def impossible(report: Report) -> list[str]:
    """The lengths that an arm cannot be read at, in words."""
    found = []
    for arm in report.arms:
        missing = [f"{int(n):,}" for n, loss in (arm.by_length or {}).items() if loss is None]
        if arm.by_length is None:
            found.append(f"{arm.name}: not measured (its run of the first seed did not finish).")
        elif not arm.by_length and report.plan.data.bytes:
            found.append(f"{arm.name}: not measured (the test text is too short).")
        elif missing:
            found.append(f"{arm.name}: not possible at {', '.join(missing)} tokens.")
    return found


def _reached(plan: Plan) -> str:
    """The lengths that are scored beside the training length, in words."""
    if not plan.reach:
        return "half, once, twice and four times" if plan.data.bytes else "once, twice and four times"
    return ", ".join(f"{factor:g}" for factor in plan.reach) + " times"


def _target(report: Report) -> dict[str, Any] | None:
    """The table of time to a common loss."""
    if not report.along:
        return None
    target, rows = report.along.target, []
    for arm in target.arms:
        runs = f"{arm.runs} of {len(report.seeds)}"
        if arm.tokens is None:
            cells = ["–", "–", "–", runs]
        else:
            times, low, high = arm.times
            within = f" [{low:.2f}, {high:.2f}]" if low is not None else ""
            cells = [brief(arm.tokens), f"{times:.2f}{within}", duration(60 * arm.minutes), runs]
        rows.append({"name": arm.name, "glyph": Markup(glyph(indices(report)[arm.name])), "cells": cells})
    unit, factor = training(report)
    return {"loss": f"{factor * target.loss:.3f} {unit}", "rows": rows}


def _inside(report: Report) -> dict[str, Any] | None:
    """The table of the probes: the range over seeds of what is one number, a figure a step for the rest."""
    rows, text = [], any(probes and probes.copying is not None for arm in report.arms for probes in arm.probes)
    for arm in report.arms:
        found = [probes for probes in arm.probes if probes and (probes.horizon or probes.rank or text)]
        if not found:
            continue
        cells = [_range([p.copying for p in found]), _range([p.recall for p in found])] if text else []
        for steps in (found[0].horizon, found[0].rank):
            words = ["no end" if value is None else brief(value, 2) for value in steps]
            cells.append(", ".join(words) or "no recurrent memory")
        rows.append({"name": arm.name, "glyph": Markup(glyph(indices(report)[arm.name])), "cells": cells})
    return {"rows": rows, "text": text} if rows else None


def _range(found: list[float | None]) -> str:
    """The mean over seeds and how far they lie apart."""
    values = [value for value in found if value is not None]
    if not values:
        return "–"
    return f"{plain(sum(values) / len(values), 2)} ({plain(min(values), 2)} to {plain(max(values), 2)})"


def _tuning(report: Report) -> list[Markup]:
    """A picture of the trials of every arm, all on one scale of losses."""
    ends = [loss for arm in report.arms for loss in arm.trials if loss is not None]
    if not any(arm.trials for arm in report.arms):
        return []
    scales = {arm.label: arm.rate_scale for arm in report.plan.arms}
    found = []
    for arm in report.arms:
        rates = [rate * scales[arm.name] for rate in report.plan.same.rates]
        found.append(Markup(pictures.tuning(report, arm, rates, ends or [0.0, 1.0])))
    return found


def _untuned(plan: Plan) -> str:
    if plan.tuning == "none":
        return "Nothing was tuned: every arm was trained at the rate that the same rule of the width gives."
    return "No trials are on record."


def held_equal(plan: Plan) -> list[tuple[str, str]]:
    """What all arms shared, in the plan's words."""
    same, matched = plan.same, plan.matched
    listed = same_for_all(plan)
    grid = "".join(f"; {each}" for each in own_rates(plan))
    trials = f"{len(same.rates)} rates, {', '.join(f'{rate:g}' for rate in same.rates)}, as {same.rate_rule}{grid}"
    trials = {"none": "none", "fit": trials, "nested": f"{trials}, for every seed"}[plan.tuning]
    return [
        *((f"matched {axis}", brief(value)) for axis, value in matched.items()),
        ("data order", "by the seed alone"),
        ("test", f"{plan.data.scored['final']:,} tokens or bytes, never used for tuning"),
        ("tuning", trials),
        *((key.replace("_", " "), f"{v:,}" if isinstance(v, int) else str(v)) for key, v in listed.items()),
    ]  # fmt: skip


def _budgets(report: Report) -> list[dict[str, Any]]:
    """What every arm got on every axis, each figure with its share of the largest."""
    exact = partial(brief, fixed=True)
    columns: list[tuple[Callable[[ArmReport], float], Callable[[float], str]]] = [
        (lambda arm: arm.params, lambda v: f"{v:,.0f}"),
        (lambda arm: arm.tokens, lambda v: f"{v:,.0f}"),
        (lambda arm: arm.flops, exact),
        (lambda arm: arm.tokens / arm.train_tokens_per_s, duration),
        (lambda arm: arm.time, duration),
        (lambda arm: arm.peak_bytes, partial(memory, fixed=True)),
    ]
    most = [max(of(arm) for arm in report.arms) or 1.0 for of, _ in columns]
    return [
        {"name": arm.name, "glyph": Markup(glyph(indices(report)[arm.name])),
         "cells": [(form(of(arm)), f"{100 * of(arm) / top:.0f}") for (of, form), top in zip(columns, most)]}
        for arm in report.arms
    ]  # fmt: skip


def amount(value: float) -> str:
    """A budget as it is typed: 200k, or all its digits where no unit makes it shorter without loss."""
    for unit, power in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        short = f"{value / power:g}"
        if value >= power and float(short) * power == value:
            return short + unit
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def target(arm: Arm) -> str:
    """An arm as it is typed: LABEL=NAME:key=value,key=value@OPTIMISER|TRANSFORM."""
    first, _, typed = arm.label.partition("|")
    first = first.partition("@")[0]
    name = arm.name if first == arm.name else f"{first}={arm.name}"
    own = ",".join(f"{key}={value}" for key, value in arm.overrides.items())
    after = [typed] if typed else [becomes(each) for each in arm.then]
    trained = f"@{arm.optimiser}" if arm.optimiser else ""
    return "|".join([f"{name}:{own}{trained}" if own else name + trained, *after])


def command(plan: Plan) -> list[str]:
    """The command line that asks for this plan, in the pieces that are not to be torn apart."""
    same, parts = plan.same, [["blockyard"], ["compare"], *([target(arm)] for arm in plan.arms)]
    if plan.arms[0].init:
        return _onward(plan)
    material = plan.data
    parts += [["--data", path] for path in material.paths] + ([["--task", material.task]] if material.task else [])
    parts += [[f"--{axis}", amount(value)] for axis, value in plan.matched.items()]
    against = {arm.id: arm.label for arm in plan.arms}.get(plan.against or "")
    length = same.length if material.bytes else None
    options = {"length": length, "batch": same.batch, "codec": material.codec if material.bytes else None,
               "device": same.device, "precision": same.precision, "seeds": ",".join(map(str, plan.looks)),
               "margin": plan.margin, "tuning": plan.tuning, "against": against}  # fmt: skip
    for name, value in ((name, value) for name, value in options.items() if value is not None):
        parts.append([f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)])
    return [shlex.join(part) for part in parts]


def _onward(plan: Plan) -> list[str]:
    """The same of one that goes on from a model."""
    (arm,), same = plan.arms, plan.same
    parts = [["blockyard"], ["train"], ["--init", arm.init]]
    if adapters(arm):
        with_ = [becomes(Then(each, 0, {})) for each in arm.system["settings"]["program"][0]["settings"]["apply"]]
        parts = [["blockyard"], ["adapt"], [arm.init], *(["--with", each] for each in with_)]
    parts += [["--data", path] for path in plan.data.paths] + ([["--task", plan.data.task]] if plan.data.task else [])
    parts += [[f"--{axis}", amount(value)] for axis, value in plan.matched.items() if axis != "params"]
    options = {"length": same.length if plan.data.bytes else None, "batch": same.batch, "device": same.device,
               "precision": same.precision, "rate": f"{same.rates[0] * arm.rate_scale:g}"}  # fmt: skip
    parts += [[f"--{name}", str(value)] for name, value in options.items() if value is not None]
    return [shlex.join(part) for part in parts]


def _beyond(plan: Plan) -> str:
    """What the command line has no option for."""
    said = [f"base={plan.seeds[0] // 100}"] if plan.seeds and plan.seeds[0] else []
    said += [f"alpha={plan.alpha:g}"] if plan.alpha != ALPHA else []
    said += [f"reach=({', '.join(f'{factor:g}' for factor in plan.reach)},)"] if plan.reach else []
    own = plan.same.rates != list(RATES) and not plan.arms[0].init
    said += [f"rates=({', '.join(f'{rate:g}' for rate in plan.same.rates)})"] if own else []
    return ", ".join(said)
