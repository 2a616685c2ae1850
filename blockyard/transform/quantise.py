"""Weights in few bits: every full matrix becomes a packed one, for decoding at the speed of what is left to read.

    small, coverage = quantise(model, bits=4)        small.save("folder") and by.load("folder") as any model
    print(coverage)

What is packed: every matrix that a part keeps in a store, as full projections and tables are. The rest (norms, gates,
filters, low-rank pairs) keeps its precision, and what is multiplied 16 bits at least. The result decodes; it does not
learn.

Source   arXiv 2208.07339 (8 bits), 2212.09720 (4 bits, groups that share a scale)
Family   quantisers
Differs  absolute maximum of a group by itself, without outliers kept apart and without data
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.part import Part
from blockyard.core.renamed import keywords
from blockyard.core.spec import Spec, store
from blockyard.kernels.weights import check, pack
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored


@dataclass(frozen=True)
class Coverage:
    """Which matrices were packed, how many of all numbers that is, and bytes before and after."""

    packed: tuple[str, ...]
    kept: tuple[str, ...]
    share: float
    before: int
    after: int

    def __str__(self) -> str:
        left = f"; kept as they were: {', '.join(self.kept)}" if self.kept else ""
        return (
            f"{len(self.packed)} matrices packed, {self.share:.1%} of the numbers; "
            f"{self.before:,} bytes before, {self.after:,} after{left}"
        )


@keywords(wide="int8")
def quantise(
    model: Model, bits: Annotated[Literal[8, 4], "bits a number"] = 8, *,
    group: Annotated[Literal[32, 64], "numbers that share a scale"] = 32,
    keep: Annotated[tuple[str, ...], "patterns of paths of parts that stay as they are"] = (),
    int8: Annotated[tuple[str, ...], "patterns of paths of parts that take 8 bits"] = (),
) -> tuple[Model, Coverage]:  # fmt: skip
    """The model with its matrices packed in 8 or 4 bits, a scale for each `group` of 32 or 64 numbers. Parts
    whose path matches a pattern of `keep` stay as they are, those of `int8` take 8 bits."""
    check(bits, group)
    edits, tensors, packed, kept = list(model.spec.get("edits", ())), stored(model), [], []
    whole: list[Any] = [part for part in model.parts() if _kept_in_full(part)]
    for pattern in (*keep, *int8):
        if not any(_matches(part, (pattern,)) for part in model.parts()):
            paths = ", ".join(part.path for part in whole[:6])
            raise UsageError(f"no part's path matches {pattern!r}; among them are {paths}")
    for part in whole:
        owners = [other for other in whole if other.store is part.store]  # of a tied table two: both are packed or none
        if any(_matches(owner, keep) for owner in owners):
            kept.append(part.path)
        elif part is owners[0]:
            many = 8 if any(_matches(owner, int8) for owner in owners) else bits
            made = store("packed", bits=many, group=group)
            edits.append(Spec.of("edit", part.path, {"store": made}))
            path = f"{part.path}.{part.store.name}"
            if part is model.stem:
                tensors["stem.like"] = tensors[path].new_zeros(0)
            tensors[path] = pack(tensors[path], many, group)
            packed.append(part.path)
    if not packed:
        raise UsageError("nothing to pack: the model has no full matrix that is not kept")
    with torch.device("meta"):
        made_model = build(model.spec.but(edits=tuple(edits)))
    done = fill(made_model, tensors, next(model.parameters()).device)
    numbers = {name: t.numel() for name, t in stored(model).items()}
    share = 1 - sum(p.numel() for p in done.parameters()) / sum(numbers.values())
    return done, Coverage(tuple(packed), tuple(kept), share, _bytes(stored(model)), _bytes(stored(done)))


def _kept_in_full(part: Any) -> bool:
    """Whether a part has a matrix in a store that keeps it as it is."""
    return getattr(part, "store", None) is not None and part.store.spec.name == "dense"


def _matches(part: Part, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(part.path, pattern) for pattern in patterns)


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())
