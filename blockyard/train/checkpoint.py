"""Checkpoints that are whole or absent: written aside, flushed, renamed, and read only if their checksum fits.

A file is 32 bytes of SHA-256 over the rest, then safetensors: tensors by name, and numbers as JSON in its metadata.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from blockyard.core.files import write_whole

DIGEST = 32


def fingerprint(tensors: dict[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that name these tensors: their names, types, shapes and bits."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def write(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], keep: int = 2) -> Path:
    """Write the checkpoint of a step and remove all but the newest `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(whole, metadata={"facts": json.dumps(facts)})
    path = folder / f"step-{step:09d}.ckpt"
    write_whole(path, hashlib.sha256(data).digest() + data)
    for old in sorted(folder.glob("step-*.ckpt"))[:-keep]:
        old.unlink(missing_ok=True)
    for left in folder.glob(".step-*.ckpt.*"):
        left.unlink(missing_ok=True)
    return path


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and facts of a checkpoint; None where the file is damaged."""
    try:
        content = path.read_bytes()
        digest, data = content[:DIGEST], content[DIGEST:]
        if hashlib.sha256(data).digest() != digest:
            return None
        size = int.from_bytes(data[:8], "little")
        return load(data), json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["facts"])
    except (OSError, SafetensorError, ValueError, KeyError):
        return None


def latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint of a folder that can be trusted."""
    for path in sorted(folder.glob("step-*.ckpt"), reverse=True):
        found = read(path)
        if found is not None:
            return found
    return None
