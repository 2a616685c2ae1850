"""What stems share that read windows of series: tokens (B,L,C), the C variables side by side, those asked for first.

What a scaling takes away goes with the call, in `call.conditions`, for the head to put back: offset and scale (R,N) of
the N variables of each row. So does the window as it was scaled, (R,L) or (R,N,L), for a head that reads that too.
"""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Axis, Batch, Call, Scaling, Site, Spec, UsageError


def axes(site: Site, length: int, channels: int, outputs: int) -> tuple[Axis, Axis, Axis]:
    """The axes of windows of so many steps and variables, of which the first `outputs` are asked for."""
    if outputs > channels:
        raise UsageError(f"{site.path}: outputs={outputs} cannot be more than channels={channels}")
    found = site.axis("length", length), site.axis("channels", channels), site.axis("outputs", outputs)
    found[0].ordered, found[1].fixed, found[2].fixed = True, "the data have so many", "the data ask for so many"
    return found


def fixed(site: Site, tokens: int, name: str = "tokens") -> Axis:
    """The axis of the tokens of a row, by whose name a head knows what they are."""
    axis = site.axis(name, tokens)
    axis.fixed = "a window gives so many tokens"
    return axis


def scaling(site: Site, spec: Spec | None, length: Axis) -> Scaling | None:
    """The scaling of a slot; refused: a norm that cannot be undone."""
    made = site.slot("scaling", spec, on=length)
    if made is not None and not isinstance(made, Scaling):
        raise UsageError(f"{site.path}: norm:{made.spec.name} cannot be undone, and a forecast is to be scaled back")
    return made


def example(rows: int, length: Axis, channels: Axis, draw: Any) -> Batch:
    """Windows of random numbers."""
    return Batch(torch.randn(rows, length.size, channels.size, generator=draw))


def read(batch: Batch, length: Axis, like: Tensor) -> Tensor:
    """(B,L,C) the windows of a batch, in the precision of what it is like."""
    x = batch.tokens.to(like.dtype)
    if x.dim() != 3 or x.shape[1] != length.size:
        raise UsageError(f"this stem reads windows of {length.size} steps, not {' x '.join(map(str, x.shape[1:]))}")
    return x


def apart(batch: Batch, length: Axis, outputs: Axis, like: Tensor) -> Tensor:
    """(B*K,L) every variable that is asked for as a row of its own."""
    return read(batch, length, like)[..., : outputs.size].transpose(1, 2).flatten(0, 1)


def scaled(x: Tensor, by: Scaling | None, call: Call) -> tuple[Tensor, Call]:
    """x (R,L) or (R,N,L) scaled, and the call that says by what."""
    if by is None:
        return x, call._replace(conditions={**call.conditions, "window": x})
    offset, scale = (each.reshape(len(x), -1) for each in by.statistics(x))
    x = by(x, call)
    return x, call._replace(conditions={**call.conditions, "offset": offset, "scale": scale, "window": x})


def whole(site: Site, length: Axis) -> None:
    """Refuse a stream that is not as wide as a window is long."""
    if site.stream.size != length.size:
        raise UsageError(f"{site.path}: a token is a whole window: dim must be length={length.size}")
    for axis in (length, *site.stream.leaves()):
        axis.fixed = "a token is a whole window: the stream is as wide as that is long"
