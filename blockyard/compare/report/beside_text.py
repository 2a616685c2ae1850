"""Outcomes side by side in words and on a page, both from the same sentences and tables."""

from collections.abc import Iterator

from blockyard.compare.report.beside import ANSWERED, Beside, BesideArm, Changed, Place
from blockyard.compare.report.figures import Canvas, Scale, label, line, looks, mark, scale
from blockyard.compare.report.format import either, few, plural, shorten
from blockyard.compare.report.sheet import Picture, Sheet, Table
from blockyard.compare.report.terminal import WIDE, columns, fold
from blockyard.compare.report.verdicts import glyph

ASKED = "asked"
LINE, GAP = 20, 14  # pixels of a side's line, and between arms


def describe_beside(found: Beside) -> str:
    """The scores of all sides, what changed and what differs, as plain text."""
    lines = [*fold(" beside ".join(side.name for side in found.sides)), ""]
    for table in (_scores(found), _verdicts(found), _differences(found)):
        if table.rows:
            most = (WIDE - 16) // (len(table.head) - 1) if table.head[0] == ASKED else WIDE
            rows = [[first, *(shorten(cell, most) for cell in cells)] for first, *cells in (table.head, *table.rows)]
            lines += [*columns(rows, [0]), ""]
    lines += [words for sentence in _sentences(found) for words in fold(sentence)]
    return "\n".join([*lines, *(["", f"report: {found.report}"] if found.report else [])])


def render_beside(found: Beside) -> str:
    """The page."""
    answer, *notes = _sentences(found)
    pictures = [
        Picture(
            f"scores-{at}",
            _heading(found, axis),
            "A line a side: its mean and its own interval.",
            _picture(found, axis),
        )
        for at, axis in enumerate(found.axes)
    ]
    tables = [table for table in (_scores(found), _verdicts(found), _differences(found)) if table.rows]
    title = " beside ".join(side.name for side in found.sides)
    return Sheet(title, answer, pictures, tables=tables, notes=notes).html()


def _heading(found: Beside, axis: list[int]) -> str:
    metric = found.sides[axis[0]].metric
    of = "" if len(found.axes) == 1 else f" of {few([found.sides[at].name for at in axis], 3)}"
    return f"{metric.name[:1].upper()}{metric.name[1:]}{of}"


def _sentences(found: Beside) -> list[str]:
    """The answers of the sides first, then what to know of them."""
    sides = found.sides
    said = [f"{side.name}: {either(side.best) if side.best else 'no verdict'}" for side in sides]
    kept = len({tuple(sorted(side.best)) for side in sides}) == 1 and sides[0].best
    lines = [f"Best: {either(sides[0].best)}, in all of them." if kept else f"Best, {'; '.join(said)}."]
    turned = [f"{each.a} and {each.b}" for each in found.changed if each.turned]
    if turned:
        lines.append(f"The order of these is told apart, and turned round: {'; '.join(turned)}.")
    elif not found.changed:
        lines.append("No verdict changed.")
    for at, side in enumerate(sides):
        own = [arm.name for arm in found.arms if arm.places[at] and sum(place is not None for place in arm.places) == 1]
        if own:
            lines.append(f"Only in {side.name}: {', '.join(own)}.")
    other = [arm.name for arm in found.arms if arm.same is False]
    if other:
        lines.append(f"Of the same name and another system, in width, length or settings: {', '.join(other)}.")
    if len(found.axes) > 1:
        lines.append("The metrics differ, so these scores stand on no common axis.")
    if found.alike:
        lines.append(f"The same in all: {', '.join(found.alike)}.")
    if any(side.judged for side in sides) and not all(side.judged for side in sides):
        lines.append(
            "What the runs of a judgement were trained on is not known here; only what both know is held together."
        )
    total = min(1.0, sum(side.alpha for side in sides))
    lines.append(
        "Nothing is tested between the sides: a verdict that only one of them has does not say that they differ. Each "
        f"side's verdicts hold together by themselves; that any of all errs has a chance of at most {total:.0%}."
    )
    return lines


def _scores(found: Beside) -> Table:
    """Every arm's score with its interval and its rank, two columns a side."""
    head = ["arm", *(word for side in found.sides for word in (f"{side.name}: {side.metric.unit}", "rank"))]
    rows = [[arm.name, *(cell for place in arm.places for cell in _cells(place))] for arm in found.arms]
    marks = [glyph(index) for index in _looks(found).values()]
    return Table(
        head, rows, "Scores", "In brackets an arm's own interval; compare arms of a side by its verdicts.", marks
    )


def _cells(place: Place | None) -> tuple[str, str]:
    if place is None:
        return "not in it", ANSWERED
    score = place.score
    ends = f" [{score.low:.3f}, {score.high:.3f}]" if score.low is not None and score.high is not None else ""
    runs = f", {place.finished}/{place.finished + place.failed} runs" if place.failed else ""
    rank = ANSWERED.join(map(str, dict.fromkeys(place.rank))) if place.rank else ANSWERED
    return (f"{score.mean:.4f}{ends}" if score.mean is not None else "failed") + runs, rank


def _verdicts(found: Beside) -> Table:
    """The pairs whose verdict is another one."""
    rows = [[f"{each.a} against {each.b}", *_words(each)] for each in found.changed]
    about = "Of the first against the second; those that turned round come first."
    return Table(["pair", *(side.name for side in found.sides)], rows, "Verdicts that changed", about)


def _words(changed: Changed) -> Iterator[str]:
    for said in changed.words:
        yield ANSWERED if said is None else said


def _differences(found: Beside) -> Table:
    rows = [[each.what, *each.values] for each in found.differs]
    head = [ASKED, *(side.name for side in found.sides)]
    return Table(head, rows, "What differs", "Of what was asked for, and what it was done with.")


def _looks(found: Beside) -> dict[str, int]:
    """Colour and mark of every arm, as the pages of the sides have them."""
    by_name = looks([arm.name for arm in found.arms])
    return {arm.name: by_name[arm.name] for arm in found.arms}


def _picture(found: Beside, axis: list[int]) -> str:
    """The scores of the sides of one metric on one axis, a line a side; marks are hollow from the second on."""
    metric, shown = found.sides[axis[0]].metric, [arm for arm in found.arms if any(arm.places[at] for at in axis)]
    row = LINE * len(axis) + GAP
    bottom = 34 + row * len(shown)
    canvas = Canvas(f"beside-{axis[0]}", metric.name, f"Scores in {metric.unit} by arm and side.", 780, bottom + 46,
                    (176, 34, 590, bottom))  # fmt: skip
    ends = [end for arm in shown for at in axis if (place := arm.places[at])
            for end in (place.score.mean, place.score.low, place.score.high) if end is not None]  # fmt: skip
    x = scale(ends or [0.0, 1.0], 176, 590, log=False)
    canvas.axis_x(x, f"{metric.unit} ({metric.better} is better)")
    for at, arm in enumerate(shown):
        _row(canvas, x, arm, _looks(found)[arm.name], 34 + row * at + GAP / 2, [(i, found.sides[i].name) for i in axis])
    return canvas.svg()


def _row(canvas: Canvas, x: Scale, arm: BesideArm, index: int, top: float, sides: list[tuple[int, str]]) -> None:
    """The lines of an arm: its name, and of every side the interval, the mark, and the figure beside them."""
    middle = top + LINE * len(sides) / 2
    canvas.arm(index, mark(index, 8, middle, 5), label(22, middle + 4, shorten(arm.name, 20)))
    for at, (side, name) in enumerate(sides):
        place, y = arm.places[side], top + LINE * (at + 0.5)
        if place is None or place.score.mean is None:
            canvas.text(602, y + 4, f"{'not in' if place is None else 'failed in'} {shorten(name, 20)}", "note")
            continue
        low, mean, high = place.score.low, place.score.mean, place.score.high
        drawn = [] if low is None or high is None else [line([(x(low), y), (x(high), y)], "whisker")]
        title = f"{arm.name} in {name}: {mean:.4f}, {plural(place.finished, 'run')}"
        canvas.arm(index, *drawn, mark(index, x(mean), y, 5, hollow=bool(at), title=title))
        canvas.text(602, y + 4, f"{mean:.4f}  {shorten(name, 20)}", "said")
