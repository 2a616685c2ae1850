"""An architecture from its steps: what stands in the stream, in which order, with settings, shapes and parameters.

outline(model)              rows: stem, every block with how often it stands there in a row, head
sketch(llama, gla)          two of them side by side, what differs in another colour
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any

from blockyard.core.spec import Spec
from blockyard.diagram.picture import svg, words
from blockyard.model.count import numbers
from blockyard.model.model import Model

WIDE, TALL, GAP, LEFT, TOP = 330, 58, 14, 24, 64  # pixels of a box, between boxes, and of the margins
LINE = 52  # letters of settings in a box


@dataclass(frozen=True)
class Row:
    """A step: the part's kind and name, its settings, the rule it stands in, its parameters, the block it belongs to
    and how often that stands there in a row."""

    name: str
    settings: str
    rule: str
    params: int
    block: str = ""
    times: int = 1

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes two steps the same."""
        return self.name, self.settings, self.rule, self.times


def told(spec: Spec) -> str:
    """Settings as words; a slot by the name of what fills it, what is none left out."""
    return " ".join(_told(name, value) for name, value in spec.settings if value not in (None, ()))


def _told(name: str, value: Any) -> str:
    if isinstance(value, Spec):
        inner = told(value)
        return f"{name}={value.name}" + (f"({inner})" if inner else "")
    return f"{name}={value}"


def outline(model: Model, tower: str = "") -> list[Row]:
    """The rows of a model from the stem to the head, those of its towers first."""
    rows = [row for name, inner in model.towers.items() for row in outline(inner, f"{name} / ")]  # pyright: ignore
    rows.append(_row(model.stem, f"{tower}stem"))
    blocks = []
    for steps, (name, loops) in zip(model.depth.blocks, model.depth.plan()):
        inside = [model.steps[i] for i in steps]
        rules = [getattr(step, "rule", None) for step in inside]
        parts = [_row(step.part, tower + name, loops, rule) for step, rule in zip(inside, rules)]
        blocks.append(tuple(parts))
    for block, alike in groupby(blocks):
        count = sum(1 for _ in alike)
        rows += [replace(row, times=row.times * count) for row in block]
    rows.append(_row(model.head, f"{tower}head"))
    return rows


def _row(part: Any, block: str, times: int = 1, rule: Any = None) -> Row:
    held = "" if rule is None else f"in {_told('', rule.spec)[1:]}"
    params = sum(p.numel() for each in (part, rule) if each is not None for p in each.parameters())
    return Row(f"{part.spec.kind}:{part.spec.name}", told(part.spec), held, params, block, times)


def sketch(models: Sequence[tuple[str, Model]]) -> str:
    """One architecture, or two side by side, as SVG."""
    columns = [outline(model) for _, model in models]
    alike = [{*range(len(rows))} for rows in columns]
    places = [[*range(len(rows))] for rows in columns]
    if len(columns) == 2:
        alike, places = _aligned(*columns)
    parts = []
    for column, ((name, model), rows) in enumerate(zip(models, columns)):
        x = LEFT + column * (WIDE + 130)
        learned = f"{numbers(model):,} parameters, stream of {model.stream.size}"
        parts += [words(x, 26, name, "k"), words(x, 44, learned, "a")]
        parts += _column(x, rows, places[column], alike[column])
    tall = TOP + (max(max(place) for place in places) + 1) * (TALL + GAP)
    title = " and ".join(name for name, _ in models)
    return svg(title, LEFT + len(columns) * (WIDE + 130), tall + 10, parts)


def _column(x: float, rows: Sequence[Row], places: Sequence[int], alike: set[int]) -> list[str]:
    parts, middle = [], x + WIDE / 2
    for i, (row, place) in enumerate(zip(rows, places)):
        y = TOP + place * (TALL + GAP)
        if i:
            start = TOP + places[i - 1] * (TALL + GAP) + TALL
            parts.append(f'<path class="w" d="M{middle:g} {start:g}V{y:g}"/>')
        kind = "b" if i in alike else "l"
        parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{WIDE:g}" height="{TALL:g}" rx="5"/>')
        parts.append(words(x + 10, y + 18, row.name, "k"))
        for down, line in zip((34, 49), (row.settings or row.rule, row.rule if row.settings else "")):
            parts.append(words(x + 10, y + down, line if len(line) <= LINE else line[: LINE - 2] + " …", "a"))
        times = f" × {row.times}" if row.times > 1 else ""
        parts.append(words(x + WIDE + 8, y + 18, f"{row.block}{times}", "a"))
        parts.append(words(x + WIDE + 8, y + 34, f"{row.params:,}", "a"))
    return parts


def _aligned(one: Sequence[Row], two: Sequence[Row]) -> tuple[list[set[int]], list[list[int]]]:
    """Which rows are the same on both sides, and the heights of all, so that those stand beside one another."""
    same: list[set[int]] = [set(), set()]
    places: list[list[int]] = [[], []]
    height = 0
    matcher = SequenceMatcher(None, [row.key for row in one], [row.key for row in two], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            same[0] |= {*range(a, b)}
            same[1] |= {*range(c, d)}
        places[0] += [height + i for i in range(b - a)]
        places[1] += [height + i for i in range(d - c)]
        height += max(b - a, d - c)
    return same, places


def lines(name: str, model: Model) -> str:
    """The same in words."""
    rows = outline(model)
    wide, block = max(len(row.name) for row in rows), max(len(f"{row.block} × {row.times}") for row in rows)
    out = [f"{name}    {numbers(model):,} parameters, stream of {model.stream.size}"]
    for row in rows:
        times = f" × {row.times}" if row.times > 1 else ""
        said = "  ".join(word for word in (row.settings, row.rule) if word)
        out.append(f"  {row.block + times:{block}}  {row.name:{wide}}  {row.params:>10,}  {said}".rstrip())
    return "\n".join(out)
