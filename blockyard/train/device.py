"""Where tensors live: a device that is known and there, or one line."""

import torch

from blockyard.core.errors import UsageError, unknown

KINDS = ("cpu", "cuda", "mps")


def known_device(name: str | None) -> str:
    """`cpu`, `cuda`, `cuda:1` or `mps`, if this machine has it; by default `cuda` where there is one, else `cpu`."""
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, number = name.partition(":")
    if kind not in KINDS:
        raise unknown("device", name, KINDS)
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if colon and not (number.isascii() and number.isdigit() and len(number) < 4):
        raise UsageError(f"device {name!r} must be a kind and a number, such as {kind}:0")
    if not there or (colon and int(number) >= there):
        raise UsageError(
            f"there is no device {name!r} here; use cpu" + (f" or {kind}:0" if there and kind != "cpu" else "")
        )
    return name
