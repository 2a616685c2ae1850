"""The score against a setting that was swept over, a line for every arm and every value of the other settings."""

import ast
from collections.abc import Sequence

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.report.figures import Canvas, Scale, line, mark, scale

MOST = 24  # characters of a value on the axis


def sweeps(report: Report) -> list[str]:
    """A picture for every setting that arms were made for several values of."""
    return [_picture(report, place) for place in range(len(report.plan.swept))]


def _picture(report: Report, place: int) -> str:
    """The means with their own intervals over the values of one setting: in their order of numbers, or as they came."""
    setting, count = report.plan.swept[place], len(report.plan.swept)
    lines: dict[str, list[tuple[str, ArmReport]]] = {}
    words: list[str] = []
    for arm in (report.arm(each.label) for each in report.plan.arms):
        base, *values = arm.name.rsplit("/", count)
        words += [values[place]] if values[place] not in words else []
        others = [value for at, value in enumerate(values) if at != place]
        if arm.score.mean is not None:
            lines.setdefault("/".join([base, *others]), []).append((values[place], arm))
    canvas = Canvas(f"sweep-{place}", f"Score against {setting}", f"{report.metric.unit} by {setting}", 640, 356,
                    (46, 34, 470, 306))  # fmt: skip
    left, top, right, bottom = canvas.frame
    at = _places(words)
    ends = [end for of in lines.values() for _, arm in of for end in (arm.score.low, arm.score.high, arm.score.mean)]
    y = scale([end for end in ends if end is not None] or [0.0, 1.0], bottom, top, log=False, pad=0.08)
    x = scale(list(at.values()), left, right, log=None if _numbers(words) else False, pad=0.06)
    canvas.axis_y(y, f"{report.metric.unit} ({report.metric.better} is better)")
    named = {value: word for word, value in at.items()}
    canvas.axis_x(x, setting + (" (log scale)" if x.log else ""), list(named), lambda value: named[value][:MOST])
    said = []
    for index, (name, of) in enumerate(lines.items()):
        spots = sorted((x(at[word]), y(arm.score.mean or 0.0), word, arm) for word, arm in of)
        canvas.arm(index, *_drawn(index, spots, y))
        said.append((index, name, *spots[-1][:2]))
    canvas.labels(said)
    canvas.notes(["Bars: an arm's own interval over seeds and test; pairs are told apart in the table of verdicts."])
    return canvas.svg()


def _drawn(index: int, spots: Sequence[tuple[float, float, str, ArmReport]], y: Scale) -> list[str]:
    """The line of an arm, its intervals and its marks."""
    parts = [line([(a, b) for a, b, *_ in spots], "thick")] if len(spots) > 1 else []
    for a, b, word, arm in spots:
        if arm.score.low is not None and arm.score.high is not None:
            parts.append(line([(a, y(arm.score.low)), (a, y(arm.score.high))], "whisker"))
        parts.append(mark(index, a, b, 4.5, title=f"{arm.name}: {arm.score.mean:.4f} at {word}"))
    return parts


def _numbers(words: Sequence[str]) -> list[float] | None:
    """The values as numbers, or None where one is a word."""
    try:
        return [float(ast.literal_eval(word)) for word in words]
    except (ValueError, SyntaxError, TypeError):
        return None


def _places(words: Sequence[str]) -> dict[str, float]:
    """Where each value stands on the axis."""
    return dict(zip(words, _numbers(words) or range(1, len(words) + 1)))
