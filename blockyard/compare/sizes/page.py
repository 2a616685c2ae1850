"""The page of several sizes: the score and the speed-up by size, and the tables behind them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from blockyard.compare.judge.speedup import Range
from blockyard.compare.report.figures import Canvas, Scale, line, looks, mark, scale
from blockyard.compare.report.format import brief
from blockyard.compare.report.sheet import Picture, Sheet, Table
from blockyard.compare.sizes.documents import Foreseen, SizesReport
from blockyard.compare.sizes.words import (
    RULES,
    answer,
    asked_of,
    describe,
    ends_of,
    error_of,
    gate_words,
    named,
    rows,
    sentences,
)
from blockyard.core.files import sealed, write_whole

WIDE, FRAME = 780, (58.0, 40.0, 620.0, 380.0)


def write(report: SizesReport, folder: Path) -> SizesReport:
    """result.json, report.txt and report.html, each whole or not at all; the report, which now says where it lies."""
    report = replace(report, report=str(folder / "report.html"))
    write_whole(folder / "result.json", sealed(report.to_json()))
    for name, page in (("report.txt", describe(report) + "\n"), ("report.html", render(report))):
        write_whole(folder / name, page.encode("utf-8", "backslashreplace"))
    return report


def render(report: SizesReport) -> str:
    """The page; it needs no network."""
    about = f"{asked_of(report)}."
    said = [*answer(report), *gate_words(report)[:1]]
    return Sheet(
        " ".join(said[:1]), " ".join([about, *said[1:]]), pictures(report), notes=sentences(report)[1:],
        tables=list(_tables(report)),
    ).html()  # fmt: skip


def pictures(report: SizesReport) -> list[Picture]:
    """The score by size, with what was and is predicted; the speed-up by size, where it is told."""
    unit = report.metric.unit
    found = [Picture("scores", "Score by size", "Bars: each arm's own interval. Hollow and dashed: as it was predicted "
                     "before that size was run, and of one size more.", _scores(report))]  # fmt: skip
    if any(arm.speedup for size in report.at_most() for arm in size.arms):
        about = (f"How many times its training {report.plan.baseline} would need to come to the {unit} of each. "
                 "Bars hold together over all arms and sizes.")  # fmt: skip
        found.append(Picture("speedups", f"Speed-up over {report.plan.baseline}", about, _speedups(report)))
    return found


def _scores(report: SizesReport) -> str:
    """Lines over ln N, both axes logarithmic where the score is above 0."""
    index = looks(report.plan.arms)
    said = [*(each.foreseen for each in report.held if each.foreseen.place.budget == report.plan.budgets[-1]),
            *([report.ahead] if report.ahead else [])]  # fmt: skip
    ends = [
        end for size in report.sizes for arm in size.arms for end in (arm.score.mean, arm.score.low, arm.score.high)
    ]
    ends += [end for each in said for arm in each.arms if arm.score for end in arm.score]
    known = [end for end in ends if end is not None] or [0.0, 1.0]
    canvas, x, y = _frame(report, "scores", f"{report.metric.unit} by size", known, said, min(known) > 0)
    canvas.axis_y(y, f"{report.metric.unit} ({report.metric.better} is better{', log scale' if y.log else ''})")
    last = []
    for name in report.plan.arms:
        look, parts = index[name], [*_predicted(name, index[name], said, x, y)]
        for budget in report.plan.budgets:
            line_of = [(x(size.place.params), arm) for size in report.sizes if size.place.budget == budget
                       for arm in size.arms if arm.name == name and arm.score.mean is not None]  # fmt: skip
            spots = [(at, y(arm.score.mean or 0.0)) for at, arm in line_of]
            top = budget == report.plan.budgets[-1]
            parts += [line(spots, "thick" if top else "thin")] if len(spots) > 1 else []
            for at, arm in line_of if top else ():
                parts += _bar(at, Range(0.0, arm.score.low, arm.score.high), y, "whisker")
                parts.append(mark(look, at, y(arm.score.mean or 0.0), 4.5, title=f"{name}: {arm.score.mean:.4f}"))
            if top and spots:
                last.append((look, name, *_end(name, said, spots[-1], x, y)))
        canvas.arm(look, *parts)
    canvas.labels(last)
    if len(report.plan.budgets) > 1:
        canvas.notes([f"Thick: {brief(report.plan.budgets[-1], 6)} tokens; thin: fewer."])
    return canvas.svg()


def _frame(
    report: SizesReport, name: str, title: str, values: Sequence[float], said: Sequence[Foreseen], log: bool
) -> tuple[Canvas, Scale, Scale]:
    """A canvas with the axis of sizes on it."""
    canvas = Canvas(name, title, title, WIDE, FRAME[3] + 46, FRAME)
    left, top, right, bottom = canvas.frame
    sizes = sorted({*report.plan.sizes, *(each.place.params for each in said)})
    x = scale(sizes, left, right, log=True, pad=0.06)
    y = scale(values, bottom, top, log=log, pad=0.08)
    canvas.axis_x(x, "parameters (log scale)", sizes)
    return canvas, x, y


def _bar(at: float, found: Range, y: Scale, kind: str) -> list[str]:
    """An interval; an open end is that of the frame."""
    if found.low is None and found.high is None:
        return []
    ends = [found.low if found.low is not None and (found.low > 0 or not y.log) else y.low,
            y.high if found.high is None else found.high]  # fmt: skip
    return [line([(at, y(min(max(end, y.low), y.high))) for end in ends], kind)]


def _predicted(name: str, look: int, said: Sequence[Foreseen], x: Scale, y: Scale) -> Iterator[str]:
    """What was said of an arm at each size, hollow, a little to the left of what came."""
    for each in said:
        for arm in each.arms:
            if arm.name == name and arm.score:
                at = x(each.place.params) - 7
                yield from _bar(at, arm.score, y, "whisker open")
                yield mark(
                    look, at, y(arm.score.value), 4, hollow=True, title=f"{name}, predicted: {arm.score.value:.4f}"
                )


def _end(
    name: str, said: Sequence[Foreseen], spot: tuple[float, float], x: Scale, y: Scale
) -> tuple[float, float]:  # fmt: skip
    """Where the name of an arm points to: its last prediction, if there is one."""
    for arm in said[-1].arms if said else ():
        if arm.name == name and arm.score and x(said[-1].place.params) > spot[0]:
            return x(said[-1].place.params) - 7, y(arm.score.value)
    return spot


def _speedups(report: SizesReport) -> str:
    """Factors on a logarithmic axis around 1."""
    index = looks(report.plan.arms)
    found = [(size, arm, arm.speedup) for size in report.at_most() for arm in size.arms if arm.speedup]
    values = [each.value for *_, each in found]
    ends = [end for *_, each in found for end in (each.low, each.high) if end is not None and 0.05 < end < 20]
    canvas, x, y = _frame(report, "speedups", "Speed-up by size", [1.0, *values, *ends], [], True)
    canvas.axis_y(y, f"times the training of {report.plan.baseline} (log scale)")
    canvas.rule(FRAME[0], y(1.0), FRAME[2], y(1.0), "zero")
    last = []
    others = [name for name in report.plan.arms if name != report.plan.baseline]
    for place, name in enumerate(others):
        look, shift = index[name], 6 * (place - (len(others) - 1) / 2)
        spots = [(x(size.place.params) + shift, y(each.value), each) for size, arm, each in found if arm.name == name]
        parts = [line([(a, b) for a, b, _ in spots], "thick")] if len(spots) > 1 else []
        for a, b, each in spots:
            parts += _bar(a, each, y, "whisker")
            parts.append(mark(look, a, b, 4.5, title=f"{name}: {each.value:.3g}"))
        canvas.arm(look, *parts)
        last += [(look, name, *spots[-1][:2])] if spots else []
    canvas.labels(last)
    return canvas.svg()


def _tables(report: SizesReport) -> Iterator[Table]:
    """What the pictures show, what became of the gate, and what was predicted."""
    plan, unit = report.plan, report.metric.unit
    names = ["architecture", "size", unit, "interval", f"speed-up over {plan.baseline}", "interval", "verdict"]
    cells = [[arm, size, *rest] for size, arm, *rest in rows(report)]
    about = f"Verdicts are those of the comparison of each size, against {plan.baseline}; its own page stands in the "
    yield Table(names, cells, about=f"{about}folder of that size.")
    if plan.gate:
        sizes = [brief(size.place.params) for size in report.at_most()]
        answers = [[each.arm, each.answer, *each.by_size] for each in report.gate]
        yield Table(["", "answer", *sizes], answers, f"Gate: {plan.gate.text}", error_of(report, plan.gate))
    told = [[arm.name, named(plan, each.foreseen.place), *_said(arm.foreseen.score),
             "–" if arm.score is None else f"{arm.score:.4f}", _word(arm.inside), arm.foreseen.verdict or "–",
             arm.verdict or "–", _word(arm.right)] for each in report.held for arm in each.arms]  # fmt: skip
    if told:
        head = ["architecture", "size", "predicted", "interval", "came", "inside", "verdict predicted", "came", "right"]
        yield Table(head, told, "What was predicted, and what came", "Written down before each size was run.")
    if report.ahead:
        more = [[arm.name, *_said(arm.score), arm.verdict or "–", RULES[arm.rule]] for arm in report.ahead.arms]
        head = ["architecture", f"predicted {unit}", "interval", f"verdict against {plan.baseline}", "how"]
        about = "Grow this folder by that size: what stands here is held against what comes."
        yield Table(head, more, f"Predicted at {brief(report.ahead.place.params)}", about)


def _said(score: Range | None) -> list[str]:
    return ["–", ""] if score is None else [f"{score.value:.4f}", ends_of(score, 4)]


def _word(found: bool | None) -> str:
    return "–" if found is None else "yes" if found else "no"
