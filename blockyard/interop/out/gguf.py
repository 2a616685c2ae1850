"""A file for llama.cpp: the model's family of transformers under its names there, with the tokenizer in it.

`gguf:q8_0` writes matrices in eight bits, with a scale for each 32 numbers of a row; f32, f16 and bf16 are what they
are called. What is small or delicate (norms, biases, filters, positions, decays) stays in float32.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import write_whole_by
from blockyard.interop.counterpart import main_kind
from blockyard.interop.ggml import Ran, library, ran
from blockyard.interop.ggml_words import words
from blockyard.model.model import Model
from blockyard.model.save import stored

KINDS = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "q8_0": torch.float32}
OWN = {"float64": "f32", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}
FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}  # what the file calls the kind of most of its numbers
BLOCK = 32  # numbers that share a scale
WHOLE = ("ssm_conv1d.weight", "shortconv.conv.weight", "position_embd.weight", "ffn_gate_inp.weight", "_norm.weight")


def write(model: Model, out: Path, kept: Mapping[str, bytes], name: str | None) -> dict[str, Any]:
    if name is not None and name not in KINDS:
        raise unknown("kind of numbers", name, KINDS)
    if find_spec("gguf") is None:
        raise UsageError("gguf needs the gguf library: pip install 'blockyard[gguf]'")
    if not model.of_ids or model.head.says != "tokens" or not model.causal:
        raise UsageError("gguf: llama.cpp takes models that read ids from left to right and score the next one")
    if whole := next((path for path, tensor in stored(model).items() if not tensor.is_floating_point()), None):
        raise UsageError(f"gguf: {whole} is quantised; export the model that it was made of, as gguf:q8_0 for instance")
    found = ran(model)
    kind = name or OWN[main_kind(model)]
    tokenizer = words(kept, model.axes["stem.vocab"].size)
    general = {"name": out.stem, "file_type": FILE_TYPES[kind], "quantization_version": 2}
    said = {f"general.{key}": value for key, value in general.items()} | found.settings | tokenizer.settings
    kinds = {place: kind_of(place, tensor, kind) for place, tensor in found.tensors.items()}
    try:
        write_whole_by(out, lambda aside: _put(aside, found, said, kinds))
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; name another file") from None
    told = {"architecture": found.arch, "numbers": kind, "tokenizer": tokenizer.told}
    if odd := [place for place, tensor in found.tensors.items() if kind == "q8_0" and _odd(place, tensor)]:
        told["in f32"] = f"{len(odd)} whose rows are no whole blocks of {BLOCK} ({odd[0]})"
    near = [*found.near, *tokenizer.near]
    return told | ({"nearly": "; ".join(near)} if near else {})


def kind_of(place: str, tensor: Tensor, kind: str) -> str:
    """What a tensor is kept in: float32 where it is small or delicate, or where its rows are no whole blocks."""
    return "f32" if _small(place, tensor) or (kind == "q8_0" and _odd(place, tensor)) else kind


def _small(place: str, tensor: Tensor) -> bool:
    return tensor.dim() < 2 or not place.endswith(".weight") or place.endswith(WHOLE)


def _odd(place: str, tensor: Tensor) -> bool:
    return not _small(place, tensor) and tensor.shape[-1] % BLOCK != 0


def _array(place: str, tensor: Tensor, kind: str) -> Any:
    """The bytes of a tensor in the kind that it is kept in."""
    gguf = library()
    made = tensor.detach().cpu().to(KINDS[kind])
    if not bool(made.isfinite().all()):
        raise UsageError(f"gguf: {place} does not fit {kind}, or holds numbers that are not finite")
    return gguf.quants.quantize(made.float().contiguous().numpy(), gguf.GGMLQuantizationType[kind.upper()])


def _put(aside: Path, found: Ran, said: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    """The file, flushed: what it says, and the tensors in their kinds."""
    gguf = library()
    file = gguf.GGUFWriter(aside, found.arch)
    for key, value in said.items():
        getattr(file, ADDED[type(value)])(key, value)
    for place, tensor in found.tensors.items():
        kind = kinds[place]
        file.add_tensor(place, _array(place, tensor, kind), raw_dtype=gguf.GGMLQuantizationType[kind.upper()])
    try:
        file.write_header_to_file()
        file.write_kv_data_to_file()
        file.write_tensors_to_file()
    finally:
        file.close()
    with open(aside, "rb") as written:
        os.fsync(written.fileno())


ADDED = {bool: "add_bool", int: "add_uint32", float: "add_float32", str: "add_string", list: "add_array"}
