"""How the runs looked inside, step by step, as pictures: a line for every arm, of its first run that was seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from blockyard.compare.documents import ArmReport, ByDepth, Report
from blockyard.compare.report.figures import Canvas, indices, line, mark, marks_along, scale


@dataclass(frozen=True)
class Seen:
    """A figure of every step, what it is called, and what there is to say of it."""

    figure: str
    title: str
    note: str
    log: bool = True


SEEN = (
    Seen("stream", "size of the stream", "Root mean square behind each step."),
    Seen("massive", "largest number, in medians", "Of the stream behind each step; in the hundreds: massive."),
    Seen("gradient", "size of the gradient", "Of the parameters of each step, all of them clipped together."),
    Seen("entropy", "nats of attention", "The mean over heads and tokens; near 0 attention has collapsed.", log=False),
)  # fmt: skip


def last(arm: ArmReport) -> tuple[ByDepth, bool] | None:
    """The last look at the first of an arm's runs that was looked into, and whether that run was finished."""
    for looks, score in zip(arm.depths, arm.score.per_seed):
        if looks:
            return looks[-1], score is not None
    return None


def depths(report: Report, names: Sequence[str] = ()) -> list[str]:
    """A picture for each figure that any arm has; `names`: of these arms only."""
    index = indices(report)
    arms = [arm for arm in report.arms if not names or arm.name in names]
    seen = [(index[arm.name], arm.name, *look) for arm in arms if (look := last(arm))]
    return [svg for each in SEEN if (svg := _picture(each, seen))]


def _picture(what: Seen, seen: Sequence[tuple[int, str, ByDepth, bool]]) -> str | None:
    """Lines over the steps; a run that failed ends in a hollow mark."""
    found = [(k, name, _points(getattr(look, what.figure), what.log), done) for k, name, look, done in seen]
    flat = [point for _, _, points, _ in found for point in points]
    if not flat:
        return None
    bottom = max(280.0, 38 + 16 * len(found))  # room for all names
    canvas = Canvas(f"depth-{what.figure}", f"By depth: {what.title}", what.note, 520, bottom + 50,
                    (46, 30, 392, bottom))  # fmt: skip
    left, top, right, bottom = canvas.frame
    x = scale([0.0, *(at for at, _ in flat)], left, right, log=False, pad=0.02)
    y = scale([value for _, value in flat], bottom, top, log=None if what.log else False, pad=0.08)
    canvas.axis_y(y, f"{what.title}{' (log scale)' if y.log else ''}")
    canvas.axis_x(x, "step of the model", [tick for tick in x.ticks() if tick == int(tick)], lambda n: f"{n:,.0f}")
    ends = []
    for k, name, points, done in found:
        if not points:
            continue
        spots = [(x(at), y(value)) for at, value in points]
        title = f"{name}: {points[0][1]:.3g} to {points[-1][1]:.3g}{'' if done else ', failed'}"
        marks = marks_along(k, spots, [look for look, *_ in found])
        parts = [line(spots, "thick"), *marks] if len(spots) > 1 else []
        canvas.arm(k, *parts, mark(k, *spots[-1], 4.5, not done, title))
        ends.append((k, name, *spots[-1]))
    canvas.labels(ends)
    canvas.notes(
        [what.note, *(["A hollow mark: the run failed after this look."] if not all(f[3] for f in found) else [])]
    )
    return canvas.svg()


def _points(values: Sequence[float | None], log: bool) -> list[tuple[float, float]]:
    """Step and value, without what is no number or, on a logarithmic axis, none above 0."""
    known = [(float(at), value) for at, value in enumerate(values, 1) if value is not None and math.isfinite(value)]
    return [(at, value) for at, value in known if value > 0 or not log]
