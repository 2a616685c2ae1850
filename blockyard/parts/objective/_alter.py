"""Frames (B,T,F) altered along time, along frequency and in magnitude: each a function of draws of its own.

Of every row the first n frames count (`sizes`, (B)). `draw(name, shape)` gives numbers in [0,1) that the name decides:
one alteration that is left out leaves the draws of the others as they are.
"""

import math

import torch
from torch import Tensor

from blockyard.core.part import Draws

ZEROS, OTHERS = 0.8, 0.1  # of the rows: spans become zeros, other spans of the row; those of the rest stay


def in_time(frames: Tensor, sizes: Tensor, draw: Draws, share: float, width: int) -> tuple[Tensor, Tensor]:
    """The frames with round(n share / width) spans altered, and (B,T) which they are: all of one row in one way.

    Spans begin at different frames and may overlap. What stays as it is belongs to them too.
    """
    rows, length = frames.shape[:2]
    place = torch.arange(length, device=frames.device)
    room = (sizes - width + 1).clamp(min=0)[:, None]  # frames at which a span can begin
    keys = draw("starts", (rows, length)).masked_fill(place >= room, 2)
    wanted = torch.minimum((sizes[:, None] * share / width).round().long(), room)
    begins = keys.argsort(1).argsort(1) < wanted
    start = torch.where(begins, place, -width).cummax(1).values  # of the span that covers a frame
    marked = place - start < width
    other = (draw("others", (rows, length)) * room).long()
    source = other.gather(1, start.clamp(min=0)) + (place - start)
    copied = frames.gather(1, source.clamp(0, length - 1)[..., None].expand_as(frames))
    how = draw("how", (rows, 1))
    instead = torch.where((how < ZEROS)[..., None], torch.zeros_like(frames), copied)
    changed = marked & (how < ZEROS + OTHERS)
    return torch.where(changed[..., None], instead, frames), marked


def in_frequency(frames: Tensor, draw: Draws, share: float) -> tuple[Tensor, Tensor]:
    """The frames with one band of channels zero, of 0 to floor(share F) channels, and (B,F) which they are."""
    rows, _, channels = frames.shape
    width = (draw("band", (rows, 1)) * (math.floor(share * channels) + 1)).long()
    first = (draw("lowest", (rows, 1)) * (channels - width + 1)).long()
    channel = torch.arange(channels, device=frames.device)
    band = (channel >= first) & (channel < first + width)
    return frames.masked_fill(band[:, None], 0), band


def in_magnitude(frames: Tensor, draw: Draws, chance: float, deviation: float) -> Tensor:
    """The frames with normal noise on all numbers of a row, of which each gets it with this chance."""
    noisy = draw("noisy", (len(frames), 1, 1)) < chance
    radius = (-2 * torch.log1p(-draw("radius", tuple(frames.shape)))).sqrt()
    noise = radius * torch.cos(2 * math.pi * draw("angle", tuple(frames.shape)))
    return torch.where(noisy, frames + deviation * noise.to(frames.dtype), frames)
