"""The older a key and its value are, the fewer bits they are read and kept in; the newest as they are.

    c = min(floor(2^8 (k - l) / w), 255)        k^ = l + (floor(c / 2^(8-b)) + 1/2) w / 2^b
    b by the age of k; below the first age k itself        l, l + w: the least and the largest number of a head's line k

An entry that grows older loses the last bits of its code: it is coded once, and |k^ - k| <= w / 2^(b+1) at every age.
A cache keeps the bits that a later query may read, and no others. Gradients go by as if nothing was coded.

Shapes   k, v (B,T,G,K)   c as many, in planes of 2, 2 and 4 bits   l, w (B,T,G,1)
Source   arXiv 2410.18441    Slug  generative-math-modeling    Family  patterns
Differs  a reading; keys are coded by lines as values are (paper: by channels), so that no token waits for a group
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from blockyard.core import Call, Site, UsageError, sub, update_cache
from blockyard.core.part import Level, Pattern
from blockyard.core.settings import Count

PLANES = (0, 2, 4, 8)  # the first bits of a code up to which each plane reaches


class AgeBits(Pattern):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, bidirectional=True, any_order=True)
    unrecorded = "what is older is read in fewer bits"
    variants = (dict(ages=(2, 4, 7)), dict(ages=(3, 5), bits=(8, 2)), dict(ages=(4,), bits=(4,)))

    def __init__(
        self, site: Site, *,
        ages: Annotated[tuple[Count, ...], "ages in tokens from which on there are fewer bits, rising; none: never"]
        = (64, 256, 1024),
        bits: Annotated[tuple[Literal[2, 4, 8], ...], "bits a number from each age on, falling"] = (8, 4, 2),
    ) -> None:  # fmt: skip
        super().__init__()
        if len(ages) != len(bits) or [*ages] != sorted({*ages}) or [*bits] != sorted({*bits}, reverse=True):
            raise UsageError(f"{site.path}: ages={ages} must rise, and bits={bits} fall and be as many")
        self.ages, self.bits, self.blurs = ages, bits, bool(ages)

    def levels(self, k: Tensor, v: Tensor, state: Any, call: Call) -> tuple[list[Level], Any]:
        if call.past is not None:
            call = call._replace(past=call.past._replace(int8=False))  # what is kept here is coded already, or in full
        leaves: dict[str, Any] = {}

        def kept(name: str, window: int | None, pair: Iterable[Tensor]) -> list[Tensor]:
            """What is kept of keys and of values, at all slots; what a later query cannot read means nothing."""
            mine, theirs = pair
            found = update_cache(sub(state, name), mine, theirs, call, window)
            leaves[name] = found.state
            return [_placed(x, found.positions, call) for x in (found.k, found.v)]

        near, (ranges, codes) = kept("full", self.ages[0], (k, v)), zip(*map(_coded, (k, v)))
        ranges, levels = kept("ranges", None, ranges), list[Level]()
        found = [torch.zeros((), dtype=torch.uint8, device=k.device)] * 2
        for below, bits in pairwise(PLANES[: PLANES.index(self.bits[0]) + 1]):
            window = next((age for age, fewer in zip(self.ages, self.bits) if fewer < bits), None)
            width = bits - below
            planes = kept(f"bits{bits}", window, (_packed(code >> (8 - bits), width) for code in codes))
            found = [code << width | _unpacked(plane, width, k.shape[-1]) for code, plane in zip(found, planes)]
            if bits in self.bits:
                read = [_numbers(*each, bits, k.dtype) for each in zip(ranges, found)]
                read = [x + (y - x).detach() for x, y in zip((k, v), read)] if state is None else read
                levels.append(Level(self.ages[self.bits.index(bits)], *read))
        return [Level(0, *near), *levels[::-1]], None if state is None else leaves


def _coded(x: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest number and the width (...,2) of every line of x (...,K), and the codes of its numbers in 8 bits."""
    numbers = x.detach().float()
    low = numbers.amin(-1, keepdim=True)
    wide = numbers.amax(-1, keepdim=True) - low
    codes = ((numbers - low) / wide.masked_fill(wide == 0, 1) * 256).floor().clamp(0, 255)
    return torch.cat([low, wide], -1), codes.to(torch.uint8)


def _numbers(ranges: Tensor, codes: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    """What codes of so many bits stand for: the middle of what they cover."""
    low, wide = ranges.split(1, -1)
    return (low + (codes.float() + 0.5) * wide / 2**bits).to(dtype)


def _packed(codes: Tensor, width: int) -> Tensor:
    """The last `width` bits of codes (...,K), several a byte."""
    each = 8 // width
    lines = pad(codes & (2**width - 1), (0, -codes.shape[-1] % each)).unflatten(-1, (-1, each))
    return (lines << _shifts(width, codes)).sum(-1).to(torch.uint8)


def _unpacked(lines: Tensor, width: int, count: int) -> Tensor:
    """The codes again, so many a line."""
    return (lines[..., None] >> _shifts(width, lines) & (2**width - 1)).flatten(-2)[..., :count]


def _shifts(width: int, like: Tensor) -> Tensor:
    return torch.arange(0, 8, width, dtype=torch.uint8, device=like.device)


def _placed(x: Tensor, positions: Tensor | None, call: Call) -> Tensor:
    """What slots hold that stand at `positions`, at the slots of all keys; None: it stands there."""
    if positions is None:
        return x
    assert call.past is not None
    there, at = positions + 1, call.past.positions + 1  # empty slots share a place
    room = x.new_zeros(len(x), at.shape[1] + 1, *x.shape[2:])
    held = room.scatter(1, there[..., None, None].expand_as(x), x)
    return held.gather(1, at[..., None, None].expand(-1, -1, *x.shape[2:]))
