"""A .pt2 file: the forward as torch.export keeps it, which runs without blockyard. `torch:128`: rows of 128 tokens."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from blockyard.core.errors import UsageError
from blockyard.core.files import write_whole
from blockyard.interop.program import checked, length_of, longest, traced
from blockyard.model.model import Model


def write(model: Model, out: Path, kept: Mapping[str, bytes], name: str | None) -> dict[str, Any]:
    length = length_of("torch", name)
    program = traced(model, "torch", length)
    made = io.BytesIO()
    torch.export.save(program, made)
    made.seek(0)
    run = torch.export.load(made).module()
    most = None if length else longest(program)
    off = checked(run, model, "torch", length, most)
    try:
        write_whole(out, made.getvalue())
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; name another file") from None
    return {"length": length or (f"up to {most}" if most else "any"), "off by": off}
