"""Random numbers as a function of a key: no generator, so they recompute, resume, shard and compile.

z_i = mix(mix(key) + i)      with the finaliser of splitmix64 (Steele, Lea, Flood 2014) as `mix`
"""

import hashlib
from typing import Any

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685  # as signed 64-bit


def fold(*parts: Any) -> int:
    """A 63-bit integer that names these values, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def _mix(z: Tensor) -> Tensor:
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def uniform(
    key: tuple[Any, ...], shape: tuple[int, ...], device: Any, clock: tuple[int | Tensor, ...] = ()
) -> Tensor:  # fmt: skip
    """float32 numbers in [0,1) of this shape, a function of `key` and `clock`.

    What `clock` holds (the optimiser's tick) is mixed in, not baked in: an integer, or the same as a 0-dim tensor where
    a compiled model would otherwise be compiled anew at every tick.
    """
    count = 1
    for n in shape:
        count *= n
    return uniform_at(key, torch.arange(count, device=device), clock).reshape(shape)


def uniform_at(key: tuple[Any, ...], places: Tensor, clock: tuple[int | Tensor, ...] = ()) -> Tensor:
    """The numbers that stand at these places (whole numbers from 0) of the endless row of a key and a clock."""
    start = torch.full((), fold(*key), dtype=torch.int64, device=places.device)
    for part in clock:
        count = part.to(torch.int64) if isinstance(part, Tensor) else torch.full_like(start, part)
        start = _mix(start + count * _GOLDEN)
    bits = _mix(start + (places + 1) * _GOLDEN)
    return ((bits >> 40) & 0xFFFFFF).to(torch.float32) / (1 << 24)
