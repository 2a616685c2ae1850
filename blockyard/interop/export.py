"""A trained model leaves: as a folder of transformers, a file for llama.cpp, a program of torch, an ONNX file."""

import pkgutil
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import refuse_taken
from blockyard.interop import out as forms_of
from blockyard.interop.folder import load
from blockyard.model.find import find_model
from blockyard.model.model import Model

LARGEST = 1 << 26  # a file beside the numbers that has more bytes is none that we know


@dataclass(frozen=True)
class Exported:
    """What was written: the form, the file or folder, and what the form has to say of it."""

    form: str
    out: str
    told: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.out} ({self.form}{''.join(f'; {name}: {value}' for name, value in self.told.items())})"


def forms() -> list[str]:
    """The forms that a model can leave in."""
    return sorted(module.name for module in pkgutil.iter_modules(forms_of.__path__))


def export(model: Model | str | Path, *, to: str, out: str | Path) -> Exported:
    """Write a model in a form that others read, and check what was written.

    model   the model, or its folder as `blockyard.load` takes it: tokenizer and generation defaults leave with it
    to      the form: transformers, gguf, onnx or torch; `transformers:llama` for a family of theirs, or a refusal;
            `gguf:q8_0` for numbers of a kind (f32, f16, bf16, q8_0), the model's own where none is named
    out     the new file, or the new or empty folder; UsageError where it is there already
    """
    form, _, name = to.partition(":")
    if form not in forms():
        raise unknown("form", form, forms())
    out = Path(out)
    refuse_taken(out)
    kept: dict[str, bytes] = {}
    if not isinstance(model, Model):
        folder = find_model(model)
        model, kept = load(folder), _kept(folder)
    training = model.training
    try:
        told = import_module(f"{forms_of.__name__}.{form}").write(model.eval(), out, kept, name or None)
    finally:
        model.train(training)
    return Exported(form, str(out), told)


def _kept(folder: Path) -> dict[str, bytes]:
    """The small files of a folder, by name."""
    try:
        found = [path for path in folder.iterdir() if path.suffix in (".json", ".txt", ".jinja", ".model")]
        return {path.name: path.read_bytes() for path in found if path.is_file() and path.stat().st_size <= LARGEST}
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror}") from None
