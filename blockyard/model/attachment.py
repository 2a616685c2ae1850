"""What is attached to a model in a folder of its own: attachment.json and the attached tensors, without the backbone.

    save_attachment(made, "adapter")             a few kilobytes
    made = load_attachment(backbone, "adapter")  the same model again, on the same backbone

The backbone is all that is not attached, less the head, which is learned along or changed for another. The folder names
it by two hashes, of its shape and of its numbers, and goes onto no other.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from blockyard.core.errors import UsageError
from blockyard.core.files import digest_of, is_aside, is_missing, read_document, read_file, sealed, write_folder
from blockyard.core.part import Part
from blockyard.core.spec import Spec
from blockyard.model.attach import attached, attached_spec, attachments, place, seat
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored

FORMAT = 1
INDEX, TENSORS = "attachment.json", "attachment.safetensors"


def save_attachment(
    model: Model, folder: str | Path, *, of: str | Path | None = None, tokenizer: bytes | None = None
) -> Path:
    """Write what is attached to a model into a `folder`, and nothing else, and return that.

    of          the folder of the model that it is attached to: `blockyard.load` puts it onto that again
    tokenizer   the content of a tokenizer.json, kept as it is

    An attachment that was saved there is replaced, a folder of anything else refused. The head is not saved: see
    `Model.save` for a whole model.
    """
    folder, taken = Path(folder), attachments(model)
    if not taken:
        raise UsageError("nothing is attached to this model; see: blockyard list transform")
    held = stored(model)
    tensors = {name: held[name].detach().cpu().contiguous() for name in attached(model)}

    def index(files: dict[str, str], gone: dict[str, str]) -> bytes:
        told = {"format": FORMAT, "attached": _levels(taken), "backbone": _backbone(model, taken)}
        told |= {} if of is None else {"of": os.path.abspath(of)}
        return sealed({**told, "files": files, "gone": gone})

    kept = [(TENSORS, save(tensors)), *([] if tokenizer is None else [("tokenizer.json", tokenizer)])]
    write_folder(folder, INDEX, kept, index, lambda: _written(folder))
    return folder


def home_of(folder: str | Path) -> Path:
    """The folder of the model that a saved attachment goes onto, as it says; refused where that is not there."""
    home = _read(Path(folder)).get("of")
    if home is None:
        raise UsageError(
            f"{folder} holds no model but what was attached to one, and does not say to which: "
            f"load_attachment(model, {str(folder)!r})"
        )
    if not Path(home).is_dir():
        raise UsageError(
            f"{folder} goes onto the model in {home}, which is not there any more; where it stands now: "
            f"load_attachment(model, {str(folder)!r})"
        )
    return Path(home)


def load_attachment(model: Model, folder: str | Path, *, share: bool = False) -> Model:
    """The model with what was saved in a `folder` attached to it; the model that is given stays as it is.

    share   the backbone is the given model's own memory: for models that answer, not for one that learns

    A backbone of another shape, or with other numbers, is refused in a line; its head may be another.
    """
    folder = Path(folder)
    told = _read(folder)
    if attachments(model):
        raise UsageError(f"{folder} goes onto a model that nothing is attached to: detach what there is first")
    for what, digest in _backbone(model, ()).items():
        if digest != told["backbone"][what]:
            raise UsageError(f"{folder} was attached to a model of {'an' if what != 'numbers' else ''}other {what}")
    try:
        tensors = load(read_file(folder, TENSORS, told["files"][TENSORS]))
    except SafetensorError as error:
        raise UsageError(f"{folder / TENSORS} cannot be read: {error}") from None
    with torch.device("meta"):
        made = build(model.spec)
        for level in told["attached"]:
            made = build(attached_spec(made, {path: Spec.from_json(spec) for path, spec in level.items()}))
    first, taken, before = next(model.parameters()), attachments(made), stored(model)
    for name in stored(made):
        came = place(name, taken)
        if came is not None:
            tensors[name] = before[came].detach() if share else before[came].detach().clone()
        elif name in tensors and tensors[name].is_floating_point():
            tensors[name] = tensors[name].to(first.dtype)
    return fill(made, tensors, first.device)


def _levels(taken: Collection[Part]) -> list[dict[str, Any]]:
    """What is attached by the path that it is attached at, in the order in which that is done: the innermost first."""
    deep = {part: sum(part.path.startswith(f"{other.path}.") for other in taken) for part in taken}
    levels: dict[int, dict[str, Any]] = {}
    for part in taken:
        settings = {key: value for key, value in part.spec.settings if key != part.attached_to}
        bare = Spec.of(part.spec.kind, part.spec.name, settings)
        levels.setdefault(deep[part], {})[seat(part, taken)] = bare.to_json()
    return [levels[depth] for depth in sorted(levels, reverse=True)]


def _backbone(model: Model, taken: Collection[Part]) -> dict[str, str]:
    """What names a backbone: a hash of its parts and the shapes of its tensors, and one of its numbers.

    Numbers count in double precision, so that a model is the same in any type that holds them.
    """
    shape = {"dim": model.spec["dim"], "causal": model.causal, "length": model.spec.get("length")}
    parts = {path: part.spec.to_json() for part, path in _left(model.parts(), taken)}
    numbers, shapes = hashlib.sha256(), {}
    for name, value in sorted(stored(model).items(), key=lambda item: item[0]):
        left = place(name, taken)
        if left is not None and not _of_head(left):
            shapes[left] = list(value.shape)
            whole = value.detach().cpu().double() if value.is_floating_point() else value.detach().cpu()
            numbers.update(left.encode() + whole.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    told = json.dumps([shape, parts, shapes], sort_keys=True)
    return {"shape": hashlib.sha256(told.encode()).hexdigest()[:16], "numbers": numbers.hexdigest()[:16]}


def _left(parts: Collection[Part], taken: Collection[Part]) -> Iterator[tuple[Part, str]]:
    """The parts that are not attached, nor the head's, with where each stands by itself."""
    for part in parts:
        path = place(part.path, taken)
        if part not in taken and path is not None and not _of_head(path):
            yield part, path


def _of_head(path: str) -> bool:
    return path == "head" or path.startswith("head.")


def _read(folder: Path) -> dict[str, Any]:
    """The checked index of a saved attachment."""
    if is_missing(folder / INDEX):
        raise UsageError(f"{folder} holds no attachment: {INDEX} is missing")
    told = read_document(folder / INDEX, FORMAT, sealed_since=1)
    if not {"attached", "backbone", "files"} <= told.keys():
        raise UsageError(f"{folder / INDEX} is damaged, or not what blockyard saved there")
    return told


def _written(folder: Path) -> dict[str, str]:
    """The files of the attachment that stands in this folder; a folder of anything else is refused."""
    if all(is_aside(path.name) for path in folder.iterdir()):
        return {}
    try:
        told = _read(folder)
    except UsageError as error:
        raise UsageError(f"{folder} is not empty and holds no attachment of ours ({error}); name another") from None
    also = {name: digest for name, digest in told["gone"].items() if digest_of(folder / name) == digest}
    return {**also, **told["files"]}
