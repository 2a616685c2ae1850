"""A diagram as lines: every box with what it reads, and the axes of what comes out.

linear  B T inner  =  x[B T stream] weight[inner stream]        4,608 multiply-adds
"""

from blockyard.diagram.box import Box
from blockyard.diagram.diagram import Diagram


def listing(diagram: Diagram) -> str:
    """One line a box, in the order in which they run; learned wires carry a star."""
    taken = ", ".join(f"{wire} ({' '.join(diagram.wires[wire])})" for wire in diagram.takes)
    sizes = " ".join(f"{axis}={size}" for axis, size in diagram.sizes.items() if not axis.isdigit())
    lines = [f"takes   {taken}", f"sizes   {sizes}", ""]
    wide = max((len(box.gives[0][0]) for box in diagram.boxes), default=0)
    for box in diagram.boxes:
        wire = box.gives[0][0]
        ops = box.multiply_adds(diagram.sizes)
        tail = f"    {ops:,} multiply-adds" if ops else ""
        lines.append(f"{wire:{wide}}  ({' '.join(diagram.wires[wire])})  =  {name_of(box)} {said(diagram, box)}{tail}")
    lines += ["", f"gives   {', '.join(diagram.gives)}"]
    lines.append(f"{diagram.parameters():,} parameters    {diagram.multiply_adds():,} multiply-adds"
                 f"    {diagram.cut():,} values in the largest cut")  # fmt: skip
    return "\n".join(lines)


def name_of(box: Box) -> str:
    """What a box does, in a word."""
    if box.run is not None:
        return box.name
    if len(box.reads) > 1:
        return "linear"
    only = next(iter(box.reads))
    return "read" if {*only.used} <= {*box.out} else "sum"


def said(diagram: Diagram, box: Box) -> str:
    """What it reads, with the index of every axis."""
    return " ".join(
        f"{one.wire}{'*' if one.wire in diagram.learned else ''}[{' '.join(map(str, one.index))}]" for one in box.reads
    )
