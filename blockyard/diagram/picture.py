"""A diagram as a picture: boxes in a column in the order in which they run, every wire a line beside them.

A wire keeps its lane from the box that makes it to the last that reads it; learned numbers stand at the box that reads
them, in bold. Over every line stand its axes. The same diagram always gives the same picture.
"""

from html import escape

from blockyard.diagram.diagram import Diagram
from blockyard.diagram.text import name_of

LANE, ROW, LEFT, TOP = 22, 34, 18, 40  # pixels
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d2330}.a{fill:#5b6577;font-size:11px}.w{stroke:#8a94a6;stroke-width:2;"
    "fill:none}.b{fill:#e8eefc;stroke:#3d5a9e}.l{fill:#fdf1dc;stroke:#a3701a}.k{font-weight:700}.d{fill:#1d2330}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e9f0}.a{fill:#a2adc0}.b{fill:#24304d;stroke:#8fabef}"
    ".l{fill:#41331a;stroke:#e0b060}.d{fill:#e6e9f0}.bg{fill:#14171f}}"
)


def svg(title: str, width: float, height: float, parts: list[str]) -> str:
    """A picture that stands alone."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} '
        f'{height:g}" role="img"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect class="bg" width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def words(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """Text at a pixel."""
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{kind} text-anchor="{anchor}">{escape(text)}</text>'


def lanes(diagram: Diagram) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """The lane of every wire that is not held beside its box, and the rows from which and to which it runs."""
    spans = {wire: [-1, -1] for wire in diagram.takes}
    for row, box in enumerate(diagram.boxes):
        for one in box.reads:
            if one.wire in spans:
                spans[one.wire][1] = row
        spans |= {wire: [row, row] for wire, _ in box.gives}
    for wire in diagram.gives:
        spans[wire][1] = len(diagram.boxes)
    free_from: list[int] = []
    lane: dict[str, int] = {}
    for wire, (start, end) in sorted(spans.items(), key=lambda item: item[1][0]):
        place = next((i for i, row in enumerate(free_from) if row < start), len(free_from))
        if place == len(free_from):
            free_from.append(0)
        free_from[place], lane[wire] = max(end, start + 1), place
    return lane, {wire: (start, end) for wire, (start, end) in spans.items()}


def picture(diagram: Diagram, title: str) -> str:
    """The diagram as SVG."""
    lane, spans = lanes(diagram)
    at = LEFT + LANE * (max(lane.values(), default=0) + 1) + 14
    parts = [words(LEFT, 22, title, "k")]
    for wire, place in lane.items():
        x, (start, end) = LEFT + LANE * place, spans[wire]
        name = escape(_axes(diagram, wire))
        parts.append(f'<path class="w" d="M{x:g} {_y(start):g}V{_y(end):g}"><title>{name}</title></path>')
    for place, wire in enumerate(diagram.takes):
        parts.append(words(at, _y(-1) + 4 + 14 * place, f"{wire}  ({_axes(diagram, wire)})", "a"))
    widths = [_row(diagram, row, lane, at, parts) for row in range(len(diagram.boxes))]
    last = _y(len(diagram.boxes))
    parts += [words(at, last + 4, f"{wire}  ({_axes(diagram, wire)})", "a") for wire in diagram.gives]
    sizes = " ".join(f"{axis}={diagram.sizes[axis]}" for axis in ("B", "T") if axis in diagram.sizes)
    foot = (
        f"{diagram.parameters():,} parameters, {diagram.multiply_adds():,} multiply-adds, largest cut "
        f"{diagram.cut():,} values at {sizes}"
    )
    parts.append(words(LEFT, last + ROW, foot, "a"))
    return svg(title, max(*widths, 6.4 * len(foot), 0) + LEFT, last + ROW + 16, parts)


def _row(diagram: Diagram, row: int, lane: dict[str, int], at: float, parts: list[str]) -> float:
    """A box with the wires that it reads; where its words end."""
    box, y = diagram.boxes[row], _y(row)
    made, name = box.gives[0][0], name_of(box)
    read = [LEFT + LANE * lane[one.wire] for one in box.reads if one.wire in lane]
    parts.append(f'<path class="w" d="M{min([*read, LEFT + LANE * lane[made]]):g} {y:g}H{at:g}"/>')
    parts += [f'<circle class="d" cx="{x:g}" cy="{y:g}" r="3"/>' for x in read]
    learned = " ".join(one.wire for one in box.reads if one.wire in diagram.learned)
    kind, length = "l" if learned else "b", 16 + 7 * len(name)
    parts.append(f'<rect class="{kind}" x="{at:g}" y="{y - 11:g}" width="{length:g}" height="22" rx="4"/>')
    parts.append(words(at + length / 2, y + 4, name, anchor="middle"))
    tail = at + length + 10
    if learned:
        parts.append(words(tail, y + 4, learned, "k"))
        tail += 7.4 * len(learned) + 10
    parts.append(words(tail, y + 4, f"({_axes(diagram, made)})", "a"))
    return tail + 6.6 * (len(_axes(diagram, made)) + 2)


def _y(row: int) -> float:
    return TOP + ROW * (row + 1)


def _axes(diagram: Diagram, wire: str) -> str:
    return " ".join(diagram.wires[wire])
