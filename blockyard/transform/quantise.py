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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.renamed import keywords
from blockyard.core.settings import Bits, Group, Patterns
from blockyard.core.spec import Spec, store
from blockyard.kernels.weights import check, pack
from blockyard.model.count import stored_bytes
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform, check_patterns, matches


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


class Quantise(Transform):
    settles = True
    renamed = dict(wide="int8")

    def __init__(
        self, *, bits: Bits = 8, group: Group = 32,
        keep: Annotated[Patterns, "patterns of paths of parts that stay as they are"] = (),
        int8: Annotated[Patterns, "patterns of paths of parts that take 8 bits"] = (),
    ) -> None:  # fmt: skip
        check(bits, group)
        self.bits, self.group, self.keep, self.int8 = bits, group, keep, int8

    def plan(self, model: Model) -> dict[str, str]:
        return {owners[0].path: f"{bits} bits" for owners, bits in self._chosen(model) if bits}

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        edits, tensors, covered = list(model.spec.get("edits", ())), stored(model), {}
        left: list[str] = []
        for owners, bits in self._chosen(model):
            if not bits:
                left += [owner.path for owner in owners]
                continue
            part = owners[0]
            edits.append(Spec.of("edit", part.path, {"store": store("packed", bits=bits, group=self.group)}))
            path = f"{part.path}.{part.store.name}"
            tensors[path] = pack(tensors[path], bits, self.group)
            covered[part.path] = f"{bits} bits"
        with torch.device("meta"):
            made = build(model.spec.but(edits=tuple(edits)))
        for part in made.parts():
            if getattr(part, "like", None) is not None:  # a stem that has no number in full left to be like
                tensors.setdefault(f"{part.path}.like", next(model.parameters()).new_zeros(0))
        done = fill(made, tensors, next(model.parameters()).device)
        share = 1 - sum(p.numel() for p in done.parameters()) / sum(t.numel() for t in stored(model).values())
        return Applied(done, covered, tuple(left), {"share": share})

    def _chosen(self, model: Model) -> list[tuple[list[Any], int]]:
        """The parts with a matrix in full, those of one matrix together, and the bits it gets: 0 where it is kept."""
        whole: list[Any] = [part for part in model.parts() if _kept_in_full(part)]
        check_patterns(model, (*self.keep, *self.int8), [part.path for part in whole])
        found = []
        for part in whole:
            owners = [other for other in whole if other.store is part.store]  # of a tied table two: both or none
            if part is owners[0]:
                wide = any(matches(owner.path, self.int8) for owner in owners)
                kept = any(matches(owner.path, self.keep) for owner in owners)
                found.append((owners, 0 if kept else 8 if wide else self.bits))
        if not any(bits for _, bits in found):
            raise UsageError("nothing to pack: the model has no full matrix that is not kept")
        return found


@keywords(wide="int8")
def quantise(
    model: Model, bits: Annotated[Literal[8, 4], "bits a number"] = 8, *,
    group: Annotated[Literal[32, 64], "numbers that share a scale"] = 32,
    keep: Annotated[tuple[str, ...], "patterns of paths of parts that stay as they are"] = (),
    int8: Annotated[tuple[str, ...], "patterns of paths of parts that take 8 bits"] = (),
) -> tuple[Model, Coverage]:  # fmt: skip
    """The model with its matrices packed in 8 or 4 bits, a scale for each `group` of numbers.

    Parts whose path matches a pattern of `keep` stay as they are, those of `int8` take 8 bits.
    """
    made = Quantise(bits=bits, group=group, keep=tuple(keep), int8=tuple(int8)).apply(model)
    before, after = stored_bytes(model), stored_bytes(made.model)
    return made.model, Coverage(tuple(made.covered), made.left, made.report["share"], before, after)


def _kept_in_full(part: Any) -> bool:
    """Whether a part has a matrix in a store that keeps it as it is."""
    return getattr(part, "store", None) is not None and part.store.spec.name == "dense"
