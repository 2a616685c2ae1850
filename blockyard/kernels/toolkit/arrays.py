"""Tensors as the flat arrays that loops take, padded to whole vectors and held to shapes that belong together."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .lanes import PAD


class Strided(NamedTuple):
    """A tensor as loops take it: its memory as one row, and the strides of all axes but the last, contiguous one."""

    data: np.ndarray
    strides: tuple[int, ...]


def strided(x: Tensor) -> Strided:
    """The rows of x where they lie."""
    if x.stride(-1) != 1 and x.shape[-1] != 1:
        x = x.contiguous()
    size = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride())) if x.numel() else 0
    return Strided(array(x.detach().as_strided((size,), (1,))), x.stride()[:-1])


def padded(x: Tensor, axes: int = 1) -> Tensor:
    """Zeros after the end of the last axes, up to whole vectors."""
    short = [-n % PAD for n in x.shape[: -axes - 1 : -1]]
    return F.pad(x, [n for s in short for n in (0, s)]) if any(short) else x


_lent = False


def lend() -> None:
    """From now on memory is taken in a way that leaves it free to be given up later, as that of weights which are
    gathered for a step is; it costs a microsecond more."""
    global _lent
    _lent = True


def array(x: Tensor) -> np.ndarray:
    """Its memory; bfloat16 as 16-bit words."""
    x = x.detach().view(torch.uint16) if x.dtype == torch.bfloat16 else x.detach()
    return np.from_dlpack(x) if _lent else x.numpy()


def raveled(x: Tensor) -> np.ndarray:
    """A contiguous tensor as one row."""
    return array(x.view(-1))


def loadable(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What the loops can load in this precision as it is, or a copy that they can."""
    return x if x.dtype == torch.bfloat16 and dtype == torch.float32 else x.to(dtype)


def reset_bytes(reset: Tensor | None) -> np.ndarray:
    """(B,T) bytes, or nothing at all."""
    return np.empty((0, 0), np.uint8) if reset is None else reset.bool().contiguous().view(torch.uint8).numpy()


def check_axes(axes: str, *given: Tensor | None) -> None:
    """Refuse shapes that do not belong together, as the loops check no index; letters are axes, the same everywhere."""
    sizes: dict[str, int] = {}
    for letters, x in zip(axes.split(), given, strict=True):
        if x is None:
            continue
        if len(letters) != x.dim() or any(sizes.setdefault(a, n) != n for a, n in zip(letters, x.shape)):
            known = ", ".join(f"{a.upper()}={sizes[a]}" for a in letters if a in sizes)
            raise ValueError(f"shape {tuple(x.shape)} must be ({','.join(letters.upper())}) with {known}")
