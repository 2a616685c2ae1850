"""What transforms share that change a spec: edits without those of what goes, and the numbers that are still good."""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from blockyard.core.spec import Spec
from blockyard.model.attach import moved_edits, with_edits
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored


def exchanged(model: Model, parts: Mapping[str, Spec | None]) -> Spec:
    """The spec with other parts at these paths, or none; edits of what stood there and of what it held are gone."""
    places = {part.path: None if _inside(part.path, parts) else part.path for part in model.parts()}
    edits = moved_edits(model, places)
    for path, spec in parts.items():
        owner, _, slot = path.rpartition(".")
        edits.append(Spec.of("edit", owner, {slot: None}) if spec is None else Spec.of("edit", path, {"spec": spec}))
    return with_edits(model.spec, edits)


@torch.no_grad()
def refilled(
    model: Model, spec: Spec, seed: int = 0, came: Callable[[str], str] = lambda name: name
) -> tuple[Model, Lineage, list[str]]:
    """The model of another spec with the numbers of this one, where the tensors came from, and the names of new ones.

    A tensor is kept where a part of the same name owns it and its shape is the same; what another part has under that
    name is no origin.

    seed   of the first numbers of what is new        came   the name that a tensor of the result had before
    """
    first = next(model.parameters())
    with torch.device("meta"):
        made = build(spec)
    held, wanted, lineage = stored(model), stored(made), Lineage()
    theirs, ours = ({part.path: part.spec.name for part in each.parts()} for each in (model, made))
    tensors, new = dict[str, Tensor](), list[str]()
    for name, shape in wanted.items():
        old = came(name)
        if old in held and held[old].shape == shape.shape and _owner(old, theirs) == _owner(name, ours):
            tensors[name] = held[old].detach().clone()
            if old != name:
                lineage[name] = Origin(old)
        else:
            new.append(name)
            lineage[name] = Origin("")
    if new:
        with torch.device("meta" if first.is_meta else "cpu"):
            drawn = stored(build(spec, seed))
        for name in new:
            fresh = drawn[name].detach()
            tensors[name] = fresh.to(first.dtype) if fresh.is_floating_point() else fresh
    return fill(made, tensors, first.device), lineage, new


def _owner(name: str, parts: Mapping[str, str]) -> str:
    """The name of the part that has this tensor."""
    path = name.rpartition(".")[0]
    return parts[path] if path in parts or not path else _owner(path, parts)


def _inside(path: str, among: Collection[str]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in among)
