"""Projections multiply in 8 bits, but for the columns with very large inputs, which keep their precision.

    y = s_x s_w (X8 W8^T) + x_O W_O^T        O = {j: |x_j| >= alpha for some token}, on data or in every batch

A scale for every token and every row of W; `outliers=nowhere` keeps no column apart. With O found on data a token
reads nothing of others, and the model goes on from a state as before. Found in every batch, as in the paper, it
promises neither to read from left to right nor to keep rows apart. `store=dense` takes W_O from the full matrix,
`int8_rows` from its codes: a quarter of the bytes. It decodes by the framework's operations, not as recorded
instructions.

Source   arXiv 2208.07339    Slug  llm-int8
Family   quantisers
Differs  O is found on data where nothing else is said; tables and the head stay as they are, as in the paper
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Patterns, Positive
from blockyard.core.spec import Spec, linear
from blockyard.kernels.weights import int8_rows
from blockyard.model.attach import with_edits
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform, batches
from blockyard.transform._sweep import copied, left_of, sweep, wanted

WORDS = {
    "data": "8 bits, outliers of the data apart",
    "batch": "8 bits, outliers of a batch apart",
    "nowhere": "8 bits",
}


class Int8(Transform):
    shown = True
    settles = True

    def __init__(
        self, *, alpha: Annotated[Positive, "from what size on an input is an outlier"] = 6.0,
        outliers: Annotated[Literal["data", "batch", "nowhere"], "where columns apart are found"] = "data",
        scales: Annotated[Literal["rows", "one"], "a scale for every token and row of W, or one for all"] = "rows",
        store: Annotated[Literal["int8_rows", "dense"], "how matrices are kept"] = "int8_rows",
        keep: Annotated[Patterns, "patterns of paths of projections that stay as they are"] = (),
    ) -> None:  # fmt: skip
        if scales == "one" and outliers == "data":
            raise UsageError(
                "int8: one scale for all tokens keeps no columns of data apart; say outliers=batch or nowhere"
            )
        self.alpha, self.outliers, self.store, self.keep = alpha, outliers, store, keep
        self.scales, self.batched = scales, outliers == "batch" or scales == "one"

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys([part.path for part in self._where(model)], WORDS[self.outliers])

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        where, edits, tensors = self._where(model), list[Spec](), stored(copied(model))
        apart = self._found(model, data, where)
        for part in where:
            edits.append(Spec.of("edit", part.path, {"spec": self._spec(part)}))
            if self.store == "int8_rows":
                name = f"{part.path}.weight"
                weight = tensors[name]
                tensors[name] = int8_rows(weight) if not weight.is_meta else _outline(weight)
            if not self.batched:
                tensors[f"{part.path}.apart"] = apart[part.path]
        with torch.device("meta"):
            made = build(with_edits(model.spec, [*model.spec.get("edits", ()), *edits]))
        covered = self.plan(model)
        columns = {path: 0 if each.is_meta else int(each.sum()) for path, each in apart.items()}
        of = sum(len(each) for each in apart.values())
        report: dict[str, Any] = {"apart": columns, "share_apart": sum(columns.values()) / max(1, of)}
        return Applied(fill(made, tensors, next(model.parameters()).device), covered, left_of(model, covered), report)

    def _where(self, model: Model) -> list[Any]:
        return [part for part in wanted(model, self.keep) if part.spec.name == "dense"]

    def _spec(self, part: Any) -> Spec:
        how: dict[str, Any] = {"bias": part.bias is not None, "store": Spec("store", self.store)}
        if not self.batched:
            return linear("int8", **how)
        alpha = self.alpha if self.outliers == "batch" else None
        return linear("int8_outliers", alpha=alpha, scales=self.scales, **how)

    def _found(self, model: Model, data: Sequence[Batch], where: list[Any]) -> dict[str, Tensor]:
        """(reads) bool by path: which columns are large somewhere in the data; none where they are not looked for."""
        first = next(model.parameters())
        found = {part.path: torch.zeros(part.weight.shape[1], dtype=torch.bool, device=first.device) for part in where}
        if self.outliers == "data":
            for part, rows in sweep(model, batches(data, "transform:int8")):
                for piece in rows if part.path in found and not first.is_meta else ():
                    found[part.path] |= (piece.abs() >= self.alpha).any(0)
        return found


def _outline(weight: Tensor) -> Tensor:
    """What codes of a matrix on the meta device are."""
    return torch.empty(len(weight), weight.shape[1] + 4, dtype=torch.int8, device="meta")
