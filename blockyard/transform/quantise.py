"""Weights in few bits: every full matrix becomes a packed one, for decoding at the speed of what is left to read.

    small, coverage = quantise(model, bits=4)        small.save("folder") and by.load("folder") as any model
    print(coverage)

What is packed: every `linear:dense`, the stem's table and the head's. The rest (norms, gates, filters, low-rank
pairs) keeps its precision, and what is multiplied 16 bits at least. The result decodes; it does not learn.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from blockyard.core.errors import UsageError
from blockyard.core.part import Part
from blockyard.core.spec import Spec
from blockyard.kernels.weights import check, pack
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored

PACKED = {"stem:tokens": ("stem", "packed_tokens"), "head:lm": ("head", "packed_lm")}


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


def quantise(model: Model, bits: int = 8, *, group: int = 32, keep: tuple[str, ...] = ()) -> tuple[Model, Coverage]:
    """The model with its matrices packed, but for the parts whose path matches a pattern of `keep`."""
    how = {"bits": bits, "group": group}
    check(bits, group)
    edits, tensors, packed, kept = list(model.spec.get("edits", ())), stored(model), [], []
    tables = [part for part in (model.stem, model.head) if _key(part) in PACKED]
    tied = len(tables) == 2 and tables[0].table is tables[1].table
    if tied and any(_kept(part, keep) for part in tables):  # one tensor in two places: both or none
        keep = (*keep, "stem", "head")
    for part in (part for part in model.modules() if isinstance(part, Part)):
        name, made = _packing(part, how)
        if made is None:
            continue
        if _kept(part, keep):
            kept.append(part.path)
            continue
        own = [edit for edit in edits if edit.name == part.path]
        sizes = {key: value for edit in own for key, value in edit.settings if key.startswith("axes.")}
        edits = [edit for edit in edits if edit not in own]
        edits.append(Spec.of("edit", part.path, {"spec": made, **sizes}))
        weight = tensors.pop(f"{part.path}.{name}", None)
        if weight is not None:  # a tied table is packed where it lives
            tensors[f"{part.path}.packed"] = pack(weight, bits, group)
            packed.append(part.path)
            if part is model.stem:
                tensors["stem.like"] = weight.new_zeros(0)
    if not packed:
        raise UsageError("nothing to pack: the model has no full matrix that is not kept")
    with torch.device("meta"):
        made_model = build(model.spec.but(edits=tuple(edits)))
    done = fill(made_model, tensors, next(model.parameters()).device)
    numbers = {name: t.numel() for name, t in stored(model).items()}
    share = 1 - sum(p.numel() for p in done.parameters()) / sum(numbers.values())
    return done, Coverage(tuple(packed), tuple(kept), share, _bytes(stored(model)), _bytes(stored(done)))


def _packing(part: Part, how: dict[str, int]) -> tuple[str, Spec | None]:
    """The tensor of a part that can be packed, and what the part becomes."""
    key = _key(part)
    if key == "linear:dense":
        return "weight", Spec.of("linear", "packed", {**how, "bias": part.bias is not None})
    if key in PACKED:
        return "table", Spec.of(*PACKED[key], {**dict(part.spec.settings), **how})
    return "", None


def _key(part: Part) -> str:
    return f"{part.spec.kind}:{part.spec.name}"


def _kept(part: Part, keep: tuple[str, ...]) -> bool:
    return any(fnmatchcase(part.path, pattern) for pattern in keep)


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())
