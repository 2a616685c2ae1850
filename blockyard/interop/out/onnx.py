"""An ONNX file of the forward, tried with onnxruntime before it is written. `onnx:128`: rows of 128 tokens."""

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.files import write_whole
from blockyard.interop.program import checked, length_of, longest, traced
from blockyard.model.model import Model

NEEDED = ("onnx", "onnxscript", "onnxruntime")
LARGEST = (2 << 30) - (1 << 20)  # bytes of weights that one file holds


def write(model: Model, out: Path, kept: Mapping[str, bytes], name: str | None) -> dict[str, Any]:
    length = length_of("onnx", name)
    if missing := [each for each in NEEDED if find_spec(each) is None]:
        raise UsageError(f"onnx needs {' and '.join(missing)}: pip install 'blockyard[onnx]'")
    if sum(x.numel() * x.element_size() for x in model.state_dict().values()) > LARGEST:
        raise UsageError("onnx: a file holds 2 GB of weights, and this model has more")
    program = traced(model, "onnx", length)
    try:
        names: Any = dict(input_names=["ids"], output_names=["logits"])
        found: Any = torch.onnx.export(program, dynamo=True, verbose=False, **names)
        made = io.BytesIO()
        found.save(made)
    except Exception as error:  # of many libraries
        text = " ".join(line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip())
        raise UsageError(f"onnx: an operation of the model is not known there: {text[:300]}") from None
    content = made.getvalue()
    most = None if length else longest(program)
    off = checked(_runner(content), model, "onnx", length, most)
    try:
        write_whole(out, content)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; name another file") from None
    return {"length": length or (f"up to {most}" if most else "any"), "off by": off}


def _runner(content: bytes) -> Any:
    """The file as a function of ids."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # of another library
        raise UsageError(f"onnx: onnxruntime does not run it: {str(error)[:300]}") from None
    (name,) = [each.name for each in session.get_inputs()]

    def run(ids: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: ids.numpy()})[0])

    return run
