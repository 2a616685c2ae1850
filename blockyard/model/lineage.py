"""Where the tensors of a transformed model come from, so that what belongs to them goes along: an optimiser's moments.

    made, lineage = transformed(model, transform("upcycle"))
    lineage["steps.1.part.experts.0.up.weight"].path == "steps.1.part.up.weight"

A tensor that a lineage does not name comes from the one of its own name and shape, where there is one.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.model.model import Model


class Origin(NamedTuple):
    """The path that a tensor had, and which places of which of its dimensions were kept, one after the other."""

    path: str
    kept: tuple[tuple[int, Tensor], ...] = ()

    def of(self, value: Tensor) -> Tensor:
        """What is left of a tensor that lies as the old one did."""
        for dim, index in self.kept:
            value = value.index_select(dim, index.to(value.device))
        return value


Lineage = dict[str, Origin]


@torch.no_grad()
def transformed(model: Model, transform: Spec, seed: int = 0) -> tuple[Model, Lineage]:
    """The model that a transform makes of this one, and where its tensors come from.

    seed   for a transform that draws, where its spec names none
    """
    entry = registry.find("transform", transform.name)
    settings = dict(transform.settings)
    if "seed" in entry.arguments:
        settings.setdefault("seed", seed)
    found = entry.load_named()
    if found.shown:
        raise UsageError(
            f"transform:{transform.name} is fitted to data, which a model in training has none to spare for"
        )
    applied = found(**settings).apply(model)
    return applied.model, applied.lineage


def pairs(old: Model, new: Model, lineage: Lineage) -> Iterator[tuple[nn.Parameter, nn.Parameter, Origin]]:
    """Every parameter of the new model that comes from one of the old, with that one."""
    before = dict(old.named_parameters())
    for path, made in new.named_parameters():
        origin = lineage.get(path, Origin(path))
        if origin.path in before and origin.of(before[origin.path]).shape == made.shape:
            yield before[origin.path], made, origin
