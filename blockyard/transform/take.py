"""Keep some places of one axis everywhere it stands: pruning, permuting and extracting are this one act.

    narrow, lineage = take(model, "steps.0.part.kv", torch.tensor([0, 2]))

Every tensor whose dimensions mention the axis is indexed by what its expression says; no parameter name is looked at.
The new spec holds the sizes of all axes, so that no default is derived again, and rebuilds the same model.

Source   arXiv 1608.08710, 1905.10650 (what is taken: filters, heads)
Family   pruners
Differs  by axes, not by names of tensors: whatever shares an axis is narrowed with it
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor, nn

from blockyard.core import registry
from blockyard.core.axis import Axis
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError, unknown
from blockyard.core.part import Part, Store
from blockyard.core.settings import Places, Word
from blockyard.core.spec import Spec
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform


class Take(Transform):
    example = dict(axis="steps.1.part.inner", index=(7, 1, 2, 3, 0, 5, 6, 4))

    def __init__(
        self, *, axis: Annotated[Word, "the address of an axis, as steps.0.part.kv"],
        index: Annotated[Places, "the places that stay, in their new order"],
    ) -> None:  # fmt: skip
        self.axis, self.index = axis, index

    def plan(self, model: Model) -> dict[str, str]:
        target = _target(model, self.axis, torch.as_tensor(self.index))
        return {self.axis: f"{len(self.index)} of {target.size}"}

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        covered = self.plan(model)
        made, lineage = take(model, self.axis, self.index)
        return Applied(made, covered, lineage=lineage)


def take(model: Model, axis: str, index: Tensor | Sequence[int]) -> tuple[Model, Lineage]:
    """A new model with only some channels of an axis, everywhere it stands, and where its tensors came from.

    axis   an address, as `model.axes` lists them        index   (n,) the channels that stay, in their new order

    An axis that cannot change by itself is a UsageError that says why.
    """
    index = torch.as_tensor(index)
    target = _target(model, axis, index)
    tensors = {name: p.detach() for name, p in stored(model).items()}
    lineage: Lineage = {}
    for use in model.uses:
        if use.of:
            continue
        for dim, expr in enumerate(use.axes):
            if any(leaf is target for leaf in expr.leaves()):
                kept = expr.find(target, index)
                tensors[use.path] = tensors[use.path].index_select(dim, kept.to(tensors[use.path].device))
                before = lineage.get(use.path, Origin(use.path))
                lineage[use.path] = Origin(use.path, (*before.kept, (dim, kept)))
    with torch.device("meta"):
        made = build(sized(model, {axis: len(index)}))
    return fill(made, tensors, next(model.parameters()).device), lineage


def _target(model: Model, axis: str, index: Tensor) -> Axis:
    """The axis of an address, where these places of it can be kept."""
    if axis not in model.axes:
        raise unknown("axis", axis, model.axes)
    if any(_packed(part) for part in model.parts()):
        raise UsageError("a packed model cannot be narrowed: narrow the model it was made from, then quantise that")
    target = model.axes[axis]
    if index.numel() == 0 or index.min() < 0 or index.max() >= target.size:
        raise UsageError(f"{axis} has {target.size} places; keep at least one of 0..{target.size - 1}")
    if target.fixed:
        raise UsageError(f"{axis} cannot be narrowed: {target.fixed}")
    if len(index) % target.multiple:
        raise UsageError(f"{axis} must stay a multiple of {target.multiple}; keep that many of its {target.size}")
    return target


def _packed(part: Part) -> bool:
    """Whether a part owns a matrix whose store keeps codes, which have no axes."""
    store = getattr(part, "store", None)
    return isinstance(store, Store) and not isinstance(getattr(part, store.name), nn.Parameter)


def sized(model: Model, changed: dict[str, int]) -> Spec:
    """The model's spec with the size of every axis written out, some of them changed."""
    first: dict[Axis, str] = {}  # an axis that has two addresses is made at its first
    for path, axis in model.axes.items():
        first.setdefault(axis, path)
    sizes = {path: axis.size for axis, path in first.items()}
    sizes |= {first[model.axes[path]]: size for path, size in changed.items()}
    spec = model.spec.but(dim=sizes.pop("stream"))
    known = {edit.name: dict(edit.settings) for edit in spec.get("edits", ()) if "*" not in edit.name}
    broad = tuple(edit for edit in spec.get("edits", ()) if "*" in edit.name)
    for path, size in sizes.items():
        place, _, name = path.rpartition(".")
        known.setdefault(place, {})[f"axes.{name}"] = size
    for part in model.modules():
        # a scale derived from a width must not follow the width when that is narrowed
        if isinstance(part, Part) and "scale" in registry.find(part.spec.kind, part.spec.name).schema:
            known.setdefault(part.path, {})["scale"] = part.scale
    edits = tuple(Spec.of("edit", path, settings) for path, settings in known.items())
    return replace(spec.but(edits=(*broad, *edits)))
