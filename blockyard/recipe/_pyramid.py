"""The body of pyramids: stages of equal blocks, each on a smaller grid and wider than the one before."""

from collections.abc import Callable

from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec, block, depth


def depths(layers: int, stages: int, shallow: int | None) -> list[int]:
    """How many blocks each stage has: `shallow` of them in all but the last but one, which has the rest.

    shallow   none: so many that the deep stage has about three times as many
    """
    few = shallow or max(1, layers // (stages + 2))
    deep = layers - few * (stages - 1)
    if deep < 1:
        raise UsageError(f"{layers} layers do not reach for {stages} stages; give at least {few * (stages - 1) + 1}")
    return [deep if i == max(0, stages - 2) else few for i in range(stages)]


def pyramid(
    dim: int,
    counts: list[int],
    steps: Callable[[int], tuple[Spec, ...]],
    between: Callable[[int], Spec],
    growth: str | None = None,
) -> tuple[tuple[Spec, ...], Spec]:
    """The blocks and the depth program of stages with so many blocks each.

    steps     the steps of a block of that width        between   the junction to a stage of that width
    growth    the widths of the stages in units of the first; none: each is twice as wide as the one before
    """
    words = growth.split() if growth else [str(1 << i) for i in range(len(counts))]
    if not all(word.isdecimal() and int(word) for word in words):
        raise UsageError(f"growth={growth!r} must be whole numbers from 1, one for each stage, as in '1 2 5 8'")
    times = [int(word) for word in words]
    if len(times) != len(counts):
        raise UsageError(f"growth={growth!r} names {len(times)} widths for {len(counts)} stages")
    blocks, order = [], []
    for i, count in enumerate(counts):
        if i:
            blocks.append(block(f"down{i}", between(times[i] * dim)))
            order.append(f"down{i}")
        blocks.append(block(f"stage{i + 1}", *steps(times[i] * dim)))
        order.append(f"{count}*stage{i + 1}")
    return tuple(blocks), depth("hybrid", pattern=" + ".join(order))
