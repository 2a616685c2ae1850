"""What runs left to look at, drawn for a page: lines with bands, tables of counts, small pictures, texts."""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from types import MappingProxyType

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.report.figures import (
    COLOURS,
    Canvas,
    Scale,
    free_look,
    indices,
    label,
    line,
    mark,
    marks_along,
    scale,
)
from blockyard.compare.report.format import shorten
from blockyard.task import Exhibit, Line, Picture

SIDE = 96  # pixels that a small picture is shown at, at least
MOST = 24  # classes that a table of counts is drawn with


def exhibits(report: Report) -> list[tuple[str, list[tuple[ArmReport | None, str]]]]:
    """Every title with the drawing of each arm that has something under it, in the order of the arms; no arm is named
    where one drawing has a line of each of them."""
    found: dict[str, list[tuple[ArmReport, Exhibit, str]]] = {}
    for number, arm in enumerate(report.arms):
        for at, each in enumerate(arm.exhibits):
            found.setdefault(each.title, []).append((arm, each, f"exhibit-{number}-{at}"))
    drawn: list[tuple[str, list[tuple[ArmReport | None, str]]]] = []
    for title, of in found.items():
        together = merged({arm.name: exhibit for arm, exhibit, _ in of})
        if together is None:
            drawn.append((title, [(arm, draw(exhibit, name)) for arm, exhibit, name in of]))
        else:
            drawn.append((title, [(None, draw(together, of[0][2], indices(report)))]))
    return drawn


def merged(shown: Mapping[str, Exhibit]) -> Exhibit | None:
    """One exhibit with the first line of each arm, and the lines behind it once; None where those are not the same in
    all of them: then they are of different things, and stand side by side."""
    first, *others = shown.values()
    alike = all((each.x, each.y, each.lines[1:]) == (first.x, first.y, first.lines[1:]) for each in others)
    apart = [each.lines[0] for each in shown.values() if each.lines]
    banded = any(line.low or line.high for each in shown.values() for line in each.lines)
    if not others or len(apart) < len(shown) or not alike or banded or all(line == apart[0] for line in apart):
        return None
    own = [replace(line, name=name) for name, line in zip(shown, apart)]
    return Exhibit(first.title, first.x, first.y, [*own, *first.lines[1:]])


def draw(exhibit: Exhibit, name: str, arms: Mapping[str, int] = MappingProxyType({})) -> str:
    """An exhibit as markup; `name` makes its ids its own, and lines of these arms have their looks."""
    made = [_lines(exhibit, name, arms)] if exhibit.lines else []
    made += [_counts(exhibit, name)] if exhibit.counts else []
    if exhibit.pictures:
        made.append(f'<div class="pictures">{"".join(map(_picture, exhibit.pictures))}</div>')
    made += [f'<p class="sample">{escape(text)}</p>' for text in exhibit.texts]
    return "".join(made)


def _lines(exhibit: Exhibit, name: str, arms: Mapping[str, int]) -> str:
    """All lines over one x, a colour each, their names below; beside arms, what is none of them is broken."""
    canvas = Canvas(name, exhibit.title, f"{exhibit.y} over {exhibit.x}", 360, 246, (42, 30, 350, 190))
    left, top, right, bottom = canvas.frame
    values = [y for each in exhibit.lines for y in (*each.y, *each.low, *each.high) if y is not None]
    if not values:
        return ""
    x = scale([at for each in exhibit.lines for at in each.x], left, right, log=False, pad=0.02)
    y = scale(values, bottom, top, log=False, pad=0.06)
    canvas.axis_y(y, exhibit.y)
    canvas.axis_x(x, exhibit.x, x.ticks(5))
    at, looks = left, dict(arms)
    for each in exhibit.lines:
        look = looks.setdefault(each.name, free_look(looks.values()))
        lines = _line(each, look, x, y, "chosen" if arms and each.name not in arms else "thick")
        if each.name in arms:
            lines += "".join(marks_along(look, _spots(each, x, y), arms.values()))
        name = shorten(each.name, 40)
        width = 26 + 7.2 * len(name)
        if at + width > right and at > left:
            at, canvas.height = left, canvas.height + 16
        legend = mark(look, at + 6, canvas.height - 5, 4) + label(at + 15, canvas.height - 1, name, "note")
        for part in (lines, legend):
            canvas.parts.append(f'<g class="c{look % COLOURS}"{_of(arms, each.name)}>{part}</g>')
        at += width
    canvas.height += 6
    return canvas.svg()


def _of(arms: Mapping[str, int], name: str) -> str:
    """What makes a part light up with its arm."""
    return f' data-arm="{arms[name]}"' if name in arms else ""


def _spots(each: Line, x: Scale, y: Scale) -> list[tuple[float, float]]:
    return [(x(at), y(value)) for at, value in zip(each.x, each.y) if value is not None]


def _line(each: Line, number: int, x: Scale, y: Scale, kind: str) -> str:
    made = ""
    if each.low and each.high:
        there, back = zip(each.x, each.high), zip(reversed(each.x), reversed(each.low))
        made += line([(x(a), y(b)) for a, b in (*there, *back)], "fan")
    piece: list[tuple[float, float]] = []
    for at, value in (*zip(each.x, each.y), (0.0, None)):
        if value is not None:
            piece.append((x(at), y(value)))
        elif piece:
            made += line(piece, kind) if len(piece) > 1 else mark(number, *piece[0], 3)
            piece = []
    return made


def _counts(exhibit: Exhibit, name: str) -> str:
    """A square for every pair of classes, the darker the larger its share of the row."""
    labels, rows = exhibit.labels[:MOST], [row[:MOST] for row in exhibit.counts[:MOST]]
    size, left = 300 / len(labels), 8 + 6.5 * min(12, max(map(len, labels)))
    about = f"{exhibit.y} by row, {exhibit.x} by column"
    canvas = Canvas(name, exhibit.title, about, left + 310, 350, (left, 24, left + 300, 324))
    canvas.text(left, 12, f"{exhibit.y} by row, {exhibit.x} by column", "name")
    for i, row in enumerate(rows):
        canvas.text(left - 6, 24 + size * (i + 0.5) + 4, labels[i][:12], "tick", "end")
        canvas.text(left + size * (i + 0.5), 340, labels[i][: max(1, int(size / 7))], "tick", "middle")
        for j, count in enumerate(row):
            share, about = count / max(1, sum(row)), f"{labels[i]} said to be {labels[j]}: {count:,}"
            canvas.parts.append(
                f'<rect class="cell {"right" if i == j else "wrong"}" x="{left + size * j:.1f}" '
                f'y="{24 + size * i:.1f}" width="{size - 1:.1f}" height="{size - 1:.1f}" '
                f'fill-opacity="{share:.3f}"><title>{escape(about)}</title></rect>'
            )
            if count and size >= 22:
                middle = left + size * (j + 0.5), 24 + size * (i + 0.5) + 4
                canvas.parts.append(label(*middle, f"{count:,}", "count strong" if share > 0.5 else "count", "middle"))
    if len(exhibit.labels) > MOST:
        canvas.notes([f"The first {MOST} of {len(exhibit.labels)} classes."])
    return canvas.svg()


def _picture(picture: Picture) -> str:
    times = max(1, SIDE // max(picture.height, picture.width))
    said = escape(picture.caption)
    return (
        f'<figure><img alt="{said}" width="{times * picture.width}" height="{times * picture.height}" '
        f'src="data:image/png;base64,{base64.b64encode(png(picture)).decode()}"><figcaption>{said}</figcaption></figure>'
    )


def png(picture: Picture) -> bytes:
    """The picture as a PNG file of 8 bits a channel."""
    deep = len(picture.pixels) // (picture.height * picture.width)
    data, wide = bytes(picture.pixels), picture.width * deep
    rows = b"".join(b"\0" + data[at : at + wide] for at in range(0, len(data), wide))
    head = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2 if deep == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def also(report: Report, form: Callable[[float], str]) -> list[tuple[ArmReport, list[str]]]:
    """The further figures of every arm: the mean over seeds and the range, in the order of the plan's metrics."""
    return [
        (arm, [_range([said.get(metric.name) for said in arm.also], form) for metric in report.plan.also])
        for arm in report.arms
    ]


def _range(found: Sequence[float | None], form: Callable[[float], str]) -> str:
    values = [value for value in found if value is not None]
    if not values:
        return "–"
    mean = form(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ({form(min(values))} to {form(max(values))})"
