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


def quantise(
    model: Model, bits: int = 8, *, group: int = 32, keep: tuple[str, ...] = (), wide: tuple[str, ...] = ()
) -> tuple[Model, Coverage]:  # fmt: skip
    """The model with its matrices packed: those of parts whose path matches a pattern of `keep` stay as they are, those
    of `wide` take 8 bits."""
    check(bits, group)
    edits, tensors, packed, kept = list(model.spec.get("edits", ())), stored(model), [], []
    tables = [part for part in (model.stem, model.head) if _key(part) in PACKED]
    if len(tables) == 2 and tables[0].table is tables[1].table:  # one tensor in two places: both or none
        keep, wide = (
            (*asked, "stem", "head") if any(_matches(part, asked) for part in tables) else asked
            for asked in (keep, wide)
        )
    parts = [part for part in model.modules() if isinstance(part, Part)]
    for pattern in (*keep, *wide):
        if not any(_matches(part, (pattern,)) for part in parts):
            paths = [part.path for part in parts if _packing(part, {})[1] is not None]
            raise UsageError(f"no part's path matches {pattern!r}; among them are {', '.join(paths[:6])}")
    for part in parts:
        many = 8 if _matches(part, wide) else bits
        name, made = _packing(part, {"bits": many, "group": group})
        if made is None:
            continue
        if _matches(part, keep):
            kept.append(part.path)
            continue
        own = [edit for edit in edits if edit.name == part.path]
        sizes = {key: value for edit in own for key, value in edit.settings if key.startswith("axes.")}
        edits = [edit for edit in edits if edit not in own]
        edits.append(Spec.of("edit", part.path, {"spec": made, **sizes}))
        weight = tensors.pop(f"{part.path}.{name}", None)
        if weight is not None:  # a tied table is packed where it lives
            tensors[f"{part.path}.packed"] = pack(weight, many, group)
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


def _matches(part: Part, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(part.path, pattern) for pattern in patterns)


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())
