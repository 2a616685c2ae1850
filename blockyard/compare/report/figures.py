"""The pictures of a report, as inline SVG that stands alone.

A picture is drawn at about the size it is read at, so that text in it needs no scaling. Arms keep their colour and
their mark in all pictures; colours are names (`c0` to `c7`) that the page's style sheet gives for light and dark.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import count, pairwise
from textwrap import wrap
from typing import Any

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.outcome import ArmOutcome, Outcome
from blockyard.compare.report.format import Gap, alike, brief, places, shorten, signed, training

COLOURS = 8
MANY = 10  # arms
SALT = 81950  # one of those under which common names have different colours
SHAPES: tuple[list[tuple[float, float]], ...] = (
    [],  # a circle
    [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    [(0, -1.15), (1.05, 0.75), (-1.05, 0.75)],
    [(0, -1.25), (1.05, 0), (0, 1.25), (-1.05, 0)],
    [(0, 1.15), (1.05, -0.75), (-1.05, -0.75)],
    [(math.sin(i * math.pi / 5) * r, -math.cos(i * math.pi / 5) * r) for i, r in enumerate((1.25, 0.55) * 5)],
    [(-1.1, -0.4), (-0.4, -0.4), (-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4),
     (1.1, 0.4), (0.4, 0.4), (0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4)],
    [(-0.5, -1.0), (0.5, -1.0), (1.1, 0), (0.5, 1.0), (-0.5, 1.0), (-1.1, 0)],
)  # fmt: skip
CHARACTER = 6.5  # width in pixels of an average character of 12 pixel text
NARROW = 8.5  # the same where a page is narrow, whose text is larger
LEAST = 1e-307  # of a logarithmic scale, and one over its most: runs that diverge leave such numbers
Box = tuple[float, float, float, float]


def written(ticks: Sequence[float], form: Callable[..., str]) -> list[str]:
    """The words of ticks; where two would read alike, with the decimals that their step needs."""
    words = [form(value) for value in ticks]
    words = words if len(set(words)) == len(words) else [f"{value:,.{places(ticks)}f}" for value in ticks]
    return [f"−{each[1:]}" if each.startswith("-") else each for each in words]


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{round(value, 1) + 0.0:g}"


@dataclass(frozen=True)
class Scale:
    """From values to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        at, low, high = (math.log(x) if self.log else x for x in (value, self.low, self.high))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the scale, at most about `most` of them."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            wide = [((1,), every) for every in (1, 2, 3, 5, 10, 20, 50, 100, 200)]
            for digits, every in (((1, 2, 5), 1), ((1, 3), 1), *wide):
                found = [d * 10.0**p for p in range(first, min(last, 308) + 1, every) for d in digits]
                found = [value for value in found if self.low <= value <= self.high]
                if 3 <= len(found) <= most:
                    return found
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
        return [i * step for i in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def scale(values: Sequence[float], start: float, end: float, log: bool | None = None, pad: float = 0.07) -> Scale:
    """A scale that holds all values with some room; logarithmic, unless told, where they range over a factor of 4."""
    low, high = min(values), max(values)
    if log is None:
        log = low > 0 and high / low >= 4
    if log:
        room = max(math.exp(min(700.0, pad * (math.log(high) - math.log(low)))), 1.1)
        return Scale(max(low / room, LEAST), min(high * room, 1 / LEAST), start, end, True)
    room = (high - low) * pad or abs(high) * 0.02 or 1.0
    return Scale(low - room, high + room, start, end)


def mark(index: int, x: float, y: float, size: float = 5.0, hollow: bool = False, title: str = "") -> str:
    """The mark of an arm; the eight shapes go with the eight colours, and turn by one after that."""
    shape = SHAPES[(index + index // COLOURS) % len(SHAPES)]
    if shape:
        path = "M" + "L".join(f"{number(x + px * size)} {number(y + py * size)}" for px, py in shape) + "Z"
    else:
        right, arc = f"{number(x + size)} {number(y)}", f"A{number(size)} {number(size)} 0 1 1"
        path = f"M{right}{arc} {number(x - size)} {number(y)}{arc} {right}Z"
    inner = f"<title>{escape(title)}</title>" if title else ""
    return f'<path class="mark{" hollow" if hollow else ""}" d="{path}">{inner}</path>'


def line(points: Iterable[tuple[float, float]], kind: str) -> str:
    """A broken line through pixels."""
    return f'<path class="{kind}" d="M{"L".join(f"{number(x)} {number(y)}" for x, y in points)}"/>'


def label(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a pixel; anchor is start, middle or end."""
    kind = f' class="{kind}"' if kind else ""
    anchor = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{number(x)}" y="{number(y)}"{kind}{anchor}>{escape(words)}</text>'


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The positions moved apart to at least `gap`, as little as a sweep down and one back up can."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = [0.0] * len(positions)
    last = low - gap
    for i in order:
        moved[i] = last = max(positions[i], last + gap)
    last = high + gap
    for i in reversed(order):
        moved[i] = last = min(moved[i], last - gap)
    return moved


@dataclass
class Canvas:
    """A picture in the making: a frame `(left, top, right, bottom)` for the values, and notes under it."""

    name: str
    title: str
    about: str
    width: float
    height: float
    frame: Box
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Words that belong to no arm."""
        self.parts.append(label(x, y, words, kind, anchor))

    def rule(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self.parts.append(line([(x1, y1), (x2, y2)], kind))

    def arm(self, index: int, *parts: str) -> None:
        """Parts that belong to one arm and carry its colour."""
        self.parts.append(f'<g class="arm c{index % COLOURS}" data-arm="{index}">{"".join(parts)}</g>')

    def axis_x(self, x: Scale, name: str, ticks: Sequence[float] | None = None, form: Any = brief) -> None:
        """The lower axis with its name under it."""
        left, top, right, bottom = self.frame
        ticks = x.ticks() if ticks is None else ticks
        for value, words in zip(ticks, written(ticks, form)):
            self.rule(x(value), top, x(value), bottom, "grid")
            self.text(x(value), bottom + 17, words, "tick", "middle")
        self.rule(left, bottom, right, bottom, "axis")
        self.text((left + right) / 2, bottom + 36, name, "name", "middle")

    def axis_y(self, y: Scale, name: str) -> None:
        """The left axis, its name lying above it, where it can be read without turning the head."""
        left, top, right, _ = self.frame
        ticks = y.ticks(5)
        words = [alike(ticks)(value) for value in ticks]
        powers = [f"{value:.0e}".replace("e-0", "e−").replace("e+0", "e") for value in ticks]
        if len(set(words)) < len(words) or (len(set(powers)) == len(powers) and max(map(len, words), default=0) > 6):
            words = powers  # over so many powers of ten that decimals do not tell them apart, or that none has room
        for value, said in zip(ticks, words):
            self.rule(left, y(value), right, y(value), "grid")
            self.text(left - 7, y(value) + 4, said, "tick", "end")
        self.text(0, top - 12, name, "name")

    def labels(self, ends: Sequence[tuple[int, str, float, float]]) -> None:
        """Names of arms (index, name, x, y of the line's end): in the right margin, or at the end of a short line."""
        _, top, right, bottom = self.frame
        for index, name, x, y in (end for end in ends if end[2] < right - 110):
            self.arm(index, label(x + 11, y + 4, shorten(name, 15)))
        ends = [end for end in ends if end[2] >= right - 110]
        heights = spread([y for *_, y in ends], 16, top + 4, bottom - 4)
        for (index, name, x, y), height in zip(ends, heights):
            leader = line([(x + 7, y), (right + 8, height), (right + 12, height)], "leader")
            self.arm(
                index, leader, mark(index, right + 16, height, 4), label(right + 24, height + 4, shorten(name, 15))
            )

    def notes(self, lines: Iterable[str]) -> None:
        """Sentences under the picture, which grows by them."""
        found = [words for note in lines for words in wrap(note, int(self.width / CHARACTER * 0.88))]
        for i, words in enumerate(found):
            self.height += 17 if i else 24
            self.text(0, self.height - 10, words, "note")

    def svg(self) -> str:
        """The finished picture."""
        ids = f"{self.name}-title {self.name}-about"
        return (
            f'<svg viewBox="0 0 {number(self.width)} {number(self.height)}" width="{number(self.width)}" '
            f'role="img" aria-labelledby="{ids}"><title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-about">{escape(self.about)}</desc>{"".join(self.parts)}</svg>'
        )


def indices(report: Outcome[Any]) -> dict[str, int]:
    """Colour and mark of every arm, by its name."""
    return looks([arm.name for arm in report.arms])


def looks(names: Iterable[str]) -> dict[str, int]:
    """Colour and mark of these names, each by itself alone, so that an arm looks the same in every report.

    There are 64 looks; where two names of a report fall on one, the second of them keeps the colour with another mark.
    """
    found: dict[str, int] = {}
    for name in sorted(names):
        look = hashlib.sha256(f"{SALT}{name}".encode()).digest()[0] % (COLOURS * len(SHAPES))
        while look in found.values():
            look += COLOURS
        found[name] = look
    return found


def free_look(taken: Iterable[int]) -> int:
    """The first look of a colour that is not taken, or, where all are, the first that is not taken itself."""
    held = set(taken)
    colours = {look % COLOURS for look in held}
    return next(look for look in count() if look not in held and (len(colours) == COLOURS or look not in colours))


def marks_along(index: int, spots: Sequence[tuple[float, float]], looks: Iterable[int]) -> list[str]:
    """Marks on a line of an arm, where another one of these looks has its colour too."""
    if sum(look % COLOURS == index % COLOURS for look in looks) < 2:
        return []
    apart = max(1, len(spots) // 5)
    return [mark(index, *spot, 3.5) for spot in spots[index // COLOURS % apart : -1 : apart]]


def forest(
    report: Outcome[Any], arms: Sequence[ArmOutcome], gaps: Sequence[tuple[Gap | None, str]], narrow: bool
) -> str:
    """Differences to the first arm with their intervals; `gaps` holds for every arm its pair with it, and a word.

    Names and words stand beside the intervals, or above them where a page is narrow. Of many arms an interval that is
    far wider than the others ends where the frame does.
    """
    index, best = indices(report), report.first
    margin = report.margin or 0.0
    values = [end for found, _ in gaps if found for end in (found.difference, *_usual(found, gaps))]
    ends = [0.0, margin, -margin, *(value for value in values if value is not None)]
    left, right, top, row = (8, 332, 30, 54) if narrow else (176, 590, 34, 36)
    bottom = top + row * len(arms)
    unit = report.metric.unit
    about = f"Each row: the difference in {unit} and its interval. A filled mark is resolved, a hollow one not."
    name, width = ("forest-narrow", 340) if narrow else ("forest", 780)
    canvas = Canvas(name, f"Differences to {best}", about, width, bottom + 46, (left, top, right, bottom))
    x = scale(ends, left, right, log=False, pad=0.04)
    if margin:
        corners = [(x(end), y) for end, y in ((-margin, top), (margin, top), (margin, bottom), (-margin, bottom))]
        canvas.parts.append(line(corners, "band"))
        canvas.text(x(0), top - 10, "margin", "note", "middle")
    worse = "right" if report.metric.sign > 0 else "left"
    canvas.axis_x(x, f"{unit} more than {shorten(best)} ({worse} is worse)", form=alike(x.ticks(), "+"))
    canvas.rule(x(0), top, x(0), bottom, "zero")
    for i, (arm, (found, said)) in enumerate(zip(arms, gaps)):
        _forest_row(canvas, x, index[arm.name], arm, found, top + row * (i + (0.72 if narrow else 0.5)), said)
    return canvas.svg()


def _usual(found: Gap, gaps: Sequence[tuple[Gap | None, str]]) -> list[float]:
    """The ends of an interval, less one that is far wider than those of many others."""
    if found.low is None or found.high is None:
        return []
    wide = sorted(gap.high - gap.low for gap, _ in gaps if gap and gap.low is not None and gap.high is not None)
    if len(wide) > MANY and found.high - found.low > 5 * wide[len(wide) // 2]:
        return []
    return [found.low, found.high]


def _forest_row(canvas: Canvas, x: Scale, index: int, arm: ArmOutcome, found: Gap | None, y: float, said: str) -> None:
    narrow = canvas.frame[0] < 100
    beside = y - 17 if narrow else y + 4
    room = int((canvas.frame[2] - 30) / NARROW) - len(said) if narrow else 20  # letters are larger there
    parts = [mark(index, 6, beside - 4), label(20, beside, shorten(arm.name, max(12, room)))]
    if found is None and arm.score.mean is not None:
        parts.append(mark(index, x(0), y, 5.5, title=f"{arm.name}: {arm.score.mean:.4f}"))
    elif found is not None:
        solid = found.resolved
        title = f"{arm.name}: {signed(found.difference, 4)}"
        if found.low is not None and found.high is not None:
            title += f", between {signed(found.low, 4)} and {signed(found.high, 4)}"
            ends = [min(max(end, x.low), x.high) for end in (found.low, found.high)]
            parts.append(line([(x(end), y) for end in ends], "whisker" if solid else "whisker open"))
            parts += [line([(x(end), y - 5), (x(end), y + 5)], "cap") for end in (found.low, found.high) if end in ends]
        parts.append(mark(index, x(found.difference), y, 5.5, hollow=not solid, title=f"{title}; {said}"))
    right = canvas.frame[2]
    parts.append(label(right, beside, said, anchor="end") if narrow else label(right + 16, beside, said))
    canvas.arm(index, *parts)


def place(points: Sequence[tuple[float, float]], widths: Sequence[float], frame: Box) -> list[tuple[float, float, str]]:
    """Where the names of points may stand without covering a mark or each other: x, y and the anchor."""
    left, top, right, bottom = frame
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    found = []
    for i, ((x, y), width) in enumerate(zip(points, widths)):
        spots = [(x + 11, y + 4, "start"), (x - 11, y + 4, "end"), (x, y - 12, "middle"), (x, y + 20, "middle")]
        spots += [(x + dx, y + dy, anchor) for dy in (-9, 17, -22, 30) for dx, anchor in ((9, "start"), (-9, "end"))]

        def box(spot: tuple[float, float, str], width: float = width) -> Box:
            start = spot[0] - {"start": 0.0, "end": width, "middle": width / 2}[spot[2]]
            return start, spot[1] - 11, start + width, spot[1] + 3

        def cost(spot: tuple[float, float, str], i: int = i) -> float:
            a = box(spot)
            others = [b for j, b in enumerate(taken) if j != i]
            over = sum(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in others)
            return over + 3 * (a[0] < left or a[2] > right or a[1] < top - 8 or a[3] > bottom)

        chosen = min(spots, key=cost)
        taken.append(box(chosen))
        found.append(chosen)
    return found


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other one beats: least of both, in the order of the first."""
    order = sorted(range(len(points)), key=lambda i: points[i])
    found: list[int] = []
    for i in order:
        if not found or points[i][1] < points[found[-1]][1]:
            found.append(i)
    return found


@dataclass(frozen=True)
class Axis:
    """A figure of an arm that quality is drawn against. `missing` says why an arm may have none."""

    name: str
    title: str
    of: Callable[[ArmReport], float | None]
    more: bool = False
    form: Callable[[float], str] = brief
    missing: str = "not known"


def against(report: Report, axis: Axis, at: int) -> str:
    """Quality against one figure of the arms, with those marked that no other arm beats on both."""
    index, scored, unit = indices(report), report.scored, report.metric.unit
    shown = [arm for arm in scored if axis.of(arm) is not None]
    about = f"{unit} against {axis.title}, a mark per arm. Filled marks, joined by a line, are not beaten on both."
    canvas = Canvas(f"price-{at}", f"Quality against {axis.title}", about, 500, 326, (46, 30, 484, 276))
    if shown:
        left, top, right, bottom = canvas.frame
        values = [(axis.of(arm) or 0.0, arm.score.mean or 0.0) for arm in shown]
        x = scale([v for v, _ in values], left, right, pad=0.14)
        y = scale([v for _, v in values], bottom, top, log=False, pad=0.14)
        canvas.axis_y(y, f"{unit} ({report.metric.better} is better)")
        better = f"{'more' if axis.more else 'less'} is better"
        canvas.axis_x(x, f"{axis.title}, {'log scale, ' if x.log else ''}{better}", x.ticks(5), axis.form)
        points = [(x(a), y(b)) for a, b in values]
        front = frontier([(-a if axis.more else a, report.metric.sign * b) for a, b in values])
        path = [points[front[0]]]
        for one, two in pairwise(front):
            path += [(points[two][0], points[one][1]), points[two]]
        canvas.parts.append(line(path, "frontier"))
        spots = place(points, [len(shorten(arm.name)) * CHARACTER for arm in shown], canvas.frame)
        for i, arm in enumerate(shown):
            k, (tx, ty, anchor), filled = index[arm.name], spots[i], i in front
            said = f"{arm.name}: {values[i][1]:.4f}, {axis.form(values[i][0])} ({axis.title})"
            canvas.arm(k, mark(k, *points[i], 6, not filled, said), label(tx, ty, shorten(arm.name), anchor=anchor))
    without = {"no finished run": [arm.name for arm in report.arms if arm not in scored],
               axis.missing: [arm.name for arm in scored if arm not in shown]}  # fmt: skip
    canvas.notes(f"Not drawn: {', '.join(names)} ({why})." for why, names in without.items() if names)
    return canvas.svg()


def _runs(arm: ArmReport, factor: float) -> list[tuple[list[tuple[float, float]], bool]]:
    """The loss curve of every seed without what is not finite, and whether the run was finished."""
    return [
        ([(t, factor * loss) for t, loss in curve if loss is not None and math.isfinite(loss)], score is not None)
        for curve, score in zip(arm.curves, arm.score.per_seed)
    ]


def _mean_curve(runs: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean over runs at the token counts that all of them have."""
    shared = sorted(set.intersection(*({t for t, _ in run} for run in runs))) if runs else []
    found = [dict(run) for run in runs]
    return [(t, sum(run[t] for run in found) / len(found)) for t in shared]


def curves(report: Report, late: bool) -> str | None:
    """Training loss against tokens: the whole run on a log axis, or (late) its second half, closer."""
    index, (unit, factor) = indices(report), training(report)
    runs = {arm.name: _runs(arm, factor) for arm in report.arms}
    done = [run for of_arm in runs.values() for run, finished in of_arm if finished and run]
    drawn = done or [run for of_arm in runs.values() for run, _ in of_arm if run]
    if not drawn:
        return None
    since = min(run[-1][0] for run in drawn) / 2 if late else 0.0
    values = [point for run in drawn for point in run if point[0] >= since]
    name, title = ("curves-late", "Second half") if late else ("curves", "Whole run")
    canvas = Canvas(name, f"Training loss, {title.lower()}", "Thin lines: one per seed. Thick line: their mean. "
                    "A thin line that ends in a cross is a failed run.", 520, 366, (38, 30, 392, 316))  # fmt: skip
    left, top, right, bottom = canvas.frame
    x = scale([t for t, _ in values], left, right, None if not late else False, pad=0.01)
    y = scale([loss for _, loss in values], bottom, top, log=False, pad=0.04)
    canvas.axis_y(y, unit)
    canvas.axis_x(x, f"training tokens{' (log scale)' if x.log else ''}")
    ends, missing = [], []
    for arm in report.arms:
        k, of_arm = index[arm.name], runs[arm.name]

        def pixels(run: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
            inside = [(t, min(loss, y.high)) for t, loss in run if x.low <= t <= x.high]
            return [(x(t), y(loss)) for t, loss in inside]

        thin = [pixels(run) for run, _ in of_arm]
        mean = pixels(_mean_curve([run for run, finished in of_arm if finished and run]))
        parts = [line(run, "thin") for run in thin if len(run) > 1]
        parts += [cross(*run[-1]) for run, (_, finished) in zip(thin, of_arm) if run and not finished]
        if mean:
            parts += [line(mean, "thick"), *marks_along(k, mean, index.values())]
        last = mean or max(thin, key=len, default=None)
        if last:
            ends.append((k, arm.name, *last[-1]))
        else:
            missing.append(arm.name)
        canvas.arm(k, *parts)
    canvas.labels(ends)
    canvas.notes([f"Not drawn: {', '.join(missing)} (no training loss in this part)."] if missing else [])
    return canvas.svg()


def cross(x: float, y: float) -> str:
    """Where a run failed."""
    a, b, c, d = (number(v) for v in (x - 4, x + 4, y - 4, y + 4))
    return f'<path class="cross" d="M{a} {c}L{b} {d}M{a} {d}L{b} {c}"/>'


def lengths(report: Report, notes: Sequence[str]) -> str | None:
    """Loss against the length of the test windows, with the training length marked; notes say what is not drawn."""
    index, trained = indices(report), report.plan.same.length
    measured = {arm.name: {int(n): y for n, y in (arm.by_length or {}).items()} for arm in report.arms}
    points = {name: [(n, y) for n, y in sorted(of_arm.items()) if y is not None] for name, of_arm in measured.items()}
    flat = [point for of_arm in points.values() for point in of_arm]
    if not flat:
        return None
    unit = report.metric.unit.capitalize()
    about = f"{unit} at several lengths, by the run of the first seed."
    canvas = Canvas("lengths", "Score against length", about, 520, 366, (42, 44, 392, 316))  # fmt: skip
    left, top, right, bottom = canvas.frame
    at = sorted({n for of_arm in measured.values() for n in of_arm} | {trained})
    x = scale(at, left, right, log=True, pad=0.04)
    y = scale([loss for _, loss in flat], bottom, top, log=False, pad=0.1)
    canvas.axis_y(y, report.metric.unit)
    canvas.axis_x(x, "tokens a window (log scale)", at, form=lambda n: f"{n:,.0f}")
    canvas.rule(x(trained), top, x(trained), bottom, "zero")
    above = 30 if x(trained) < 8 * len(report.metric.unit) + 60 else 8  # not over the name of the axis
    canvas.text(x(trained), top - above, "training length", "note", "middle")
    ends = []
    for name, of_arm in points.items():
        spots = [(x(n), y(loss)) for n, loss in of_arm]
        if spots:
            ends.append((index[name], name, *spots[-1]))
            titles = [f"{name} at {n:,}: {loss:.4f}" for n, loss in of_arm]
            marks = [mark(index[name], *spot, 4.5, title=title) for spot, title in zip(spots, titles)]
            canvas.arm(index[name], line(spots, "thick"), *marks)
    canvas.labels(ends)
    canvas.notes(notes)
    return canvas.svg()


def tuning(report: Report, arm: ArmReport, rates: Sequence[float], ends: Sequence[float]) -> str:
    """The trials of one arm against the learning rate, with the rate its runs were trained at."""
    k, unit = indices(report)[arm.name], report.metric.unit
    canvas = Canvas(f"tuning{k}", f"Tuning of {arm.name}", f"{unit} in tuning at every rate tried. "
                    "The dashed line is the rate chosen.", 330, 218, (38, 54, 322, 174))  # fmt: skip
    left, top, right, bottom = canvas.frame
    x = scale([*rates, arm.learning_rate], left, right, log=True, pad=0.06)
    y = scale(ends, bottom, top, log=False, pad=0.1)
    canvas.arm(k, mark(k, 6, 11), label(20, 15, shorten(arm.name), "head"))
    canvas.text(right, 15, f"trained at {arm.learning_rate:.3g}{'*' if arm.edge_of_grid else ''}", "note", "end")
    canvas.axis_y(y, unit)
    canvas.axis_x(x, "learning rate (log scale)", rates, form=lambda v: f"{v:.2g}")
    done = [(rate, loss) for rate, loss in zip(rates, arm.trials) if loss is not None]
    parts = [line([(x(rate), y(loss)) for rate, loss in done], "thick")] if done else []
    parts += [mark(k, x(rate), y(loss), 4.5, True, f"{rate:.3g}: {loss:.4f}") for rate, loss in done]
    parts += [cross(x(rate), top + 6) for rate, loss in zip(rates, arm.trials) if loss is None]
    chosen = x(arm.learning_rate)
    canvas.arm(k, *parts, line([(chosen, top), (chosen, bottom)], "chosen"))
    if None in arm.trials:
        canvas.notes(["A cross is a trial that failed."])
    return canvas.svg()
