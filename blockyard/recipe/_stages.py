"""The body of stages that stand one behind the other: layers of each, and a junction to each but the first."""

from collections.abc import Sequence

from blockyard.core.spec import Spec, block, depth


def staged(layers: int, steps: tuple[Spec, ...], between: Sequence[Spec]) -> tuple[tuple[Spec, ...], Spec]:
    """The blocks of so many stages and one more as there are junctions between them, and the depth program."""
    blocks, order = [block("stage1", *steps)], [f"{layers}*stage1"]
    for i, junction in enumerate(between, 2):
        blocks += [block(f"next{i}", junction), block(f"stage{i}", *steps)]
        order += [f"next{i}", f"{layers}*stage{i}"]
    return tuple(blocks), depth("hybrid", pattern=" + ".join(order))
