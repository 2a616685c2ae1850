"""What is attached to the parts of a model: put there, told from the rest, and taken off again.

    made, lineage = attach(model, {"steps.1.part": spec})     the part at that path stands in the slot of the new one
    attached(made)                                            the paths of the tensors that it brought
    plain, lineage = detach(made)                             the model as it was

An attachment is a part that holds another one in the slot that its class names as `attached_to`. Attaching is an edit,
so a spec rebuilds the result; edits of what moves into the slot move with it. Numbers of the backbone stay as they are.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.part import Merged, Part
from blockyard.core.spec import Spec, matching_edits
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored


def attachments(model: Model) -> list[Part]:
    """The parts that are attached to others, those inside others after them."""
    return [part for part in model.parts() if part.attached_to]


def attached(model: Model) -> list[str]:
    """The paths of what attachments own, parameters and buffers."""
    found = attachments(model)
    return [name for name in stored(model) if place(name, found) is None]


def place(path: str, taken: Collection[Part]) -> str | None:
    """Where a module or a tensor stands once these attachments are taken off; None: it goes with them."""
    for part in sorted(taken, key=lambda part: -len(part.path)):
        inside = f"{part.path}.{part.attached_to}"
        if _within(path, inside):
            path = part.path + path.removeprefix(inside)
        elif _within(path, part.path):
            return None
    return path


def seat(part: Part, taken: Collection[Part]) -> str:
    """Where that stands which a part is attached to, once all of these are taken off."""
    base: Part = getattr(part, part.attached_to)
    return seat(base, taken) if base in taken else str(place(base.path, taken))


def attach(
    model: Model, where: Mapping[str, Spec], seed: int = 0, *, share: bool = False
) -> tuple[Model, Lineage]:  # fmt: skip
    """The model with something attached at each of these paths, and where its tensors came from.

    where   the spec of each attachment, its slot left empty       seed   of the first numbers of what is new
    share   what stays is the given model's own memory: for models that answer, not for one that learns
    """
    first = next(model.parameters())
    with torch.device("meta" if first.is_meta else "cpu"):
        made = build(attached_spec(model, where), seed)
    tensors, lineage, before = {}, Lineage(), stored(model)
    taken = [part for part in attachments(made) if part.path in where]
    for name, fresh in stored(made).items():
        came = place(name, taken)
        if came is None:
            tensors[name] = fresh.detach().to(first.dtype) if fresh.is_floating_point() else fresh.detach()
        else:
            tensors[name] = before[came].detach() if share else before[came].detach().clone()
            if came != name:
                lineage[name] = Origin(came)
    made = fill(made, tensors, first.device)
    if not first.is_meta:
        with torch.no_grad():
            for part in taken:
                part.settle()
    return made, lineage


def attached_spec(model: Model, where: Mapping[str, Spec]) -> Spec:
    """The spec of the model with these attachments, each around what stands at its path."""
    parts = {part.path: part for part in model.parts()}
    slots = {path: registry.find(spec.kind, spec.name).load_named().attached_to for path, spec in where.items()}

    def moved(path: str) -> str:
        inside = next((each for each in where if _within(path, each)), None)
        return path if inside is None else f"{inside}.{slots[inside]}{path.removeprefix(inside)}"

    edits = moved_edits(model, {path: moved(path) for path in parts})
    for path, spec in where.items():
        edits.append(Spec.of("edit", path, {"spec": spec.but(**{slots[path]: parts[path].spec})}))
    return with_edits(model.spec, edits)


def detach(
    model: Model, taken: Collection[Part] | None = None, instead: Mapping[str, Merged] | None = None
) -> tuple[Model, Lineage]:  # fmt: skip
    """The model without these attachments (none named: without any), and where its tensors came from.

    instead   by the path of an attachment, what becomes of the part that it was attached to
    """
    taken, instead = attachments(model) if taken is None else taken, instead or {}
    made = _outline(model, taken, instead)
    merged = {f"{path}.{name}": tensor for path, (_, held) in instead.items() for name, tensor in held.items()}
    tensors, lineage = {}, Lineage()
    for name, tensor in stored(model).items():
        left = place(name, taken)
        if left is not None:
            tensors[left] = merged.get(left, tensor).detach().clone()
            if left != name:
                lineage[left] = Origin(name)
    return fill(made, tensors, next(model.parameters()).device), lineage


def _outline(model: Model, taken: Collection[Part], instead: Mapping[str, Merged]) -> Model:
    """The model without these attachments, on the meta device; what edits do not say of it is said by some more."""
    edits = moved_edits(model, {part.path: place(part.path, taken) for part in model.parts()})
    changed = [Spec.of("edit", path, settings) for path, (settings, _) in instead.items() if settings]
    bases = {place(base.path, taken): base.spec for base in _bases(taken)}
    with torch.device("meta"):
        try:
            made = build(with_edits(model.spec, edits))
            specs = {part.path: part.spec for part in made.parts()}
            whole = all(specs.get(str(path)) == spec for path, spec in bases.items())
        except UsageError:  # the spec itself has the attachment, so that edits of its base met another part
            whole = False
        if whole and not changed:
            return made
        said = [] if whole else [Spec.of("edit", str(path), {"spec": spec}) for path, spec in bases.items()]
        return build(with_edits(model.spec, [*said, *edits, *changed]))


def _bases(taken: Collection[Part]) -> list[Part]:
    """What stays where these were attached: of several around one part, the part."""
    found: list[Any] = [getattr(part, part.attached_to) for part in taken]
    return [part for part in found if part not in taken]


def moved_edits(model: Model, places: Mapping[str, str | None]) -> list[Spec]:
    """The edits of a model whose parts stand elsewhere; None: nowhere. One of several modules, of which one moves, is
    written out."""
    found = []
    for edit in model.spec.get("edits", ()):
        met = [path for path in places if matching_edits((edit,), path)]
        now = [places[path] for path in met]
        if now == met:
            found.append(edit)
        else:
            found += [Spec.of("edit", path, dict(edit.settings)) for path in now if path is not None]
    return found


def with_edits(spec: Spec, edits: Collection[Spec]) -> Spec:
    """The spec with these edits and no others."""
    settings = {key: value for key, value in spec.settings if key != "edits"}
    return Spec.of(spec.kind, spec.name, settings | ({"edits": tuple(edits)} if edits else {}))


def _within(path: str, module: str) -> bool:
    return path == module or path.startswith(f"{module}.")
