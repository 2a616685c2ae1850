"""Every projection that is made of several factors becomes the one matrix that it is.

    W = F(I)^T - F(0)^T        b = F(0)        F any projection, as it is outside training

One product of a full matrix is quicker for a few tokens than several of thin ones, and what is full can be packed. The
new model says what the old one said, to rounding. What is attached to a projection is folded with it.

Source   arXiv 2406.16450, 2303.06296    Slug  structured-ffn
Family   growth
Differs  nothing known
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core.axis import Expr
from blockyard.core.batch import Batch
from blockyard.core.call import widest_dtype
from blockyard.core.errors import UsageError
from blockyard.core.part import Part
from blockyard.core.settings import Patterns
from blockyard.core.spec import Spec, linear
from blockyard.model.attach import moved_edits, with_edits
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._attach import outermost
from blockyard.transform._base import Applied, Transform, matches


class Fold(Transform):
    after = "lora"

    def __init__(
        self, *, on: Annotated[Patterns, "patterns of paths of projections, with * for any word"] = ("*",)
    ) -> None:
        self.on = on

    def plan(self, model: Model) -> dict[str, str]:
        return {path: f"folded {part.spec.name}" for path, part in self._factored(model).items()}

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        parts, first = self._factored(model), next(model.parameters())
        places = {part.path: None if _inside(part.path, parts) else part.path for part in model.parts()}
        edits, tensors = moved_edits(model, places), {n: t for n, t in stored(model).items() if not _inside(n, parts)}
        for path, part in parts.items():
            reads, biased = _sides(model, path)
            weight, bias = _matrix(part, reads.size)
            edits.append(Spec.of("edit", path, {"spec": linear("dense", bias=biased)}))
            tensors[f"{path}.weight"] = weight.to(first.dtype)
            if biased:
                tensors[f"{path}.bias"] = bias.to(first.dtype)
        with torch.device("meta"):
            made = build(with_edits(model.spec, edits))
        held = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        return Applied(fill(made, held, first.device), self.plan(model))

    def _factored(self, model: Model) -> dict[str, Any]:
        """The projections that are no full matrix yet and are meant, by path."""
        linears = outermost([part for part in model.parts() if part.spec.kind == "linear"])
        found = {part.path: part for part in linears if part.spec.name != "dense" and matches(part.path, self.on)}
        if not found:
            raise UsageError(f"fold: no projection at {', '.join(self.on)} is made of several factors")
        return found


def _inside(path: str, parts: dict[str, Any]) -> bool:
    """Whether a module or a tensor belongs to one of these parts."""
    return any(path == each or path.startswith(f"{each}.") for each in parts)


def _sides(model: Model, path: str) -> tuple[Expr, bool]:
    """What a projection reads, and whether anything in it is added to its output."""
    own = {axis for address, axis in model.axes.items() if address.startswith(f"{path}.")}
    uses = [use for use in model.uses if use.path.startswith(f"{path}.")]

    def outer(sides: list[Any]) -> Any:
        return next(side for side in sides if side is not None and not set(side.leaves()) <= own)

    reads, writes = outer([use.reads for use in uses]), outer([use.writes for use in uses])
    return reads, any(len(use.axes) == 1 and use.axes[0] is writes for use in uses)


def _matrix(part: Part, reads: int) -> tuple[Tensor, Tensor]:
    """The matrix that a projection is, and what it adds, in the widest precision that there is."""
    first = next(part.parameters())
    dtype = first.dtype if first.is_meta else widest_dtype(first.device)
    wide: Any = part if first.is_meta else deepcopy(part).to(dtype)
    bias = wide(torch.zeros(1, reads, dtype=dtype, device=first.device))[0]
    return (wide(torch.eye(reads, dtype=dtype, device=first.device)) - bias).T, bias
