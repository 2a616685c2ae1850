"""Which arithmetic a run uses: decided once from the machine and the model, and printed with the plan."""

import contextlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from blockyard.core.errors import unknown

PRECISIONS = ("float32", "bfloat16")
WIDE = 192  # on a CPU, narrower products lose in casts what they win in arithmetic: measured


@lru_cache
def native_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    if device != "cpu":
        return False
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose(asked: str | None, device: str, dim: int) -> str:
    """The precision asked for; by default bfloat16 where the device has it and the model is wide enough to gain."""
    if asked is not None:
        if asked not in PRECISIONS:
            raise unknown("precision", asked, PRECISIONS)
        return asked
    wide = dim >= WIDE or device.startswith("cuda")
    return "bfloat16" if wide and native_bfloat16(device) else "float32"


def arithmetic(precision: str, device: str) -> Any:
    """The context a forward runs in. Parameters, gradients and the optimiser stay in float32."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.partition(":")[0], torch.bfloat16, cache_enabled=True)
