"""What the pages of studies draw: curves of many arms in one frame, and a small frame for every arm."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from blockyard.compare.report.figures import COLOURS, Canvas, Scale, cross, label, line, mark, scale
from blockyard.compare.report.format import shorten

Point = tuple[float, float | None]  # None: the run failed there, or cannot go there
FRAME, ACROSS = (196.0, 150.0), 4  # pixels of a small frame, and how many stand in a row
MOST_TICKS = 8  # places of points that are all named; of more, round places between them are


class Curve(NamedTuple):
    """What is drawn of an arm: its look, and its points from left to right."""

    name: str
    look: int
    points: Sequence[Point]


class Axes(NamedTuple):
    """What the two axes say; `mark` is a place on the lower one with a word for it, `most` where values are cut off."""

    x: str
    y: str
    log_x: bool = True
    log_y: bool = False
    mark: tuple[float, str] | None = None
    most: float | None = None


def frame(name: str, title: str, axes: Axes, curves: Sequence[Curve], height: float = 420) -> str:
    """All curves over one pair of axes, named at their ends; a cross at the top is a point that is missing."""
    canvas = Canvas(name, title, f"{axes.y} over {axes.x}", 780, height + 46, (52, 40, 640, height))
    left, top, right, bottom = canvas.frame
    x, y, at = _scales(axes, [curve.points for curve in curves], (left, right), (bottom, top))
    canvas.axis_y(y, axes.y + (" (log scale)" if y.log else ""))
    ticks = at if len(at) <= MOST_TICKS else x.ticks()
    canvas.axis_x(x, axes.x + (" (log scale)" if x.log else ""), ticks, lambda value: f"{value:,.6g}")
    if axes.mark:
        canvas.rule(x(axes.mark[0]), top, x(axes.mark[0]), bottom, "zero")
        canvas.text(x(axes.mark[0]), top - 8, axes.mark[1], "note", "middle")
    ends = []
    for curve in curves:
        parts, last = _drawn(curve, x, y, axes)
        canvas.arm(curve.look, *parts)
        if last:
            ends.append((curve.look, curve.name, *last))
    canvas.labels(ends)
    return canvas.svg()


def frames(name: str, title: str, axes: Axes, arms: Mapping[str, Sequence[Curve]]) -> str:
    """A small frame for every arm with its curves, on the same axes; where an arm has several they are named below."""
    (wide, tall), rows = FRAME, -(-len(arms) // ACROSS)
    canvas = Canvas(name, title, f"{axes.y} over {axes.x}, a frame for each arm", ACROSS * wide, rows * tall + 34,
                    (0, 0, ACROSS * wide, rows * tall))  # fmt: skip
    every = [curve.points for curves in arms.values() for curve in curves]
    for place, (arm, curves) in enumerate(arms.items()):
        left, top = wide * (place % ACROSS) + 34, tall * (place // ACROSS) + 26
        right, bottom = left + wide - 48, top + tall - 56
        x, y, at = _scales(axes, every, (left, right), (bottom, top))
        for value in y.ticks(4):
            canvas.rule(left, y(value), right, y(value), "grid")
            canvas.text(left - 5, y(value) + 4, f"{value:.3g}", "tick", "end")
        canvas.rule(left, bottom, right, bottom, "axis")
        for value in (at[0], at[-1]):
            canvas.text(x(value), bottom + 15, f"{value:.2g}", "tick", "middle")
        canvas.text(left, top - 9, shorten(arm, 20), "head")
        for curve in curves:
            colour = curve.look % COLOURS
            canvas.parts.append(f'<g class="c{colour}">{"".join(_drawn(curve, x, y, axes)[0])}</g>')
    at_x, first = 4.0, next(iter(arms.values()), ())
    for curve in first if len(first) > 1 else ():
        canvas.parts.append(
            f'<g class="c{curve.look % COLOURS}">{mark(curve.look, at_x, canvas.height - 9, 4)}'
            f"{label(at_x + 10, canvas.height - 5, curve.name, 'note')}</g>"
        )
        at_x += 30 + 7 * len(curve.name)
    canvas.notes([f"{axes.y} over {axes.x}. A cross: the run failed, or ended above what is drawn."])
    return canvas.svg()


def _scales(
    axes: Axes, every: Sequence[Sequence[Point]], across: tuple[float, float], up: tuple[float, float]
) -> tuple[Scale, Scale, list[float]]:
    """Both scales, and the places on the lower axis that any curve has a point at."""
    at = sorted({place for points in every for place, _ in points})
    values = [value for points in every for _, value in points if value is not None]
    kept = [value for value in values if axes.most is None or value <= axes.most] or [0.0, 1.0]
    return scale(at, *across, log=axes.log_x, pad=0.03), scale(kept, *up, log=axes.log_y, pad=0.06), at


def _drawn(curve: Curve, x: Scale, y: Scale, axes: Axes) -> tuple[list[str], tuple[float, float] | None]:
    """The marks of a curve, and where it ends: what is missing or too high is a cross at the top."""
    inside = [(at, v) for at, v in curve.points if v is not None and (axes.most is None or v <= axes.most)]
    spots = [(x(at), y(value)) for at, value in inside]
    known = dict(inside)
    parts = [line(spots, "thick")] if len(spots) > 1 else []
    titles = [f"{curve.name} at {at:g}: {value:.4g}" for at, value in inside]
    parts += [mark(curve.look, *spot, 3, title=title) for spot, title in zip(spots, titles)]
    parts += [cross(x(at), y.end + 4) for at, _ in curve.points if at not in known]
    return parts, spots[-1] if spots else None
