"""Say the numbers of tokens that a corruption hid, such as the pixels of patches, from all that it left.

    x_t = m in place of what the stem makes of a hidden token, before positions        y = head(h)
    loss = sum over hidden tokens of (y_t - target_t)^2  /  how many numbers they have

m and the head are the objective's own, and are gone with it. Tokens that the stem puts in front have nothing to say.

Shapes   targets (B,N,K), K numbers of each of N tokens, not a number where nothing is asked   y (B,N,K)   m (D)
Source   arXiv 2111.06377, 2111.09886    Family  objective
Differs  hidden patches stay in the row as m, and the head says pixels at once: no decoder beside it
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site, Spec, UsageError, normal, upcast
from blockyard.core.part import Draws
from blockyard.core.settings import CorruptSpec, HeadSpec


class Reconstruct(Objective):
    learns = "hidden values"
    needs = ("bidirectional",)
    around = dict(stem=("patches", dict(height=8, width=8)), head=("classes", {}))

    def __init__(
        self, site: Site, *, corrupt: CorruptSpec = Spec("corrupt", "patches"),
        head: Annotated[HeadSpec, "what says the numbers of a token"] = Spec("head", "values"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.corrupt = site.build("corrupt", corrupt)
        if not self.corrupt.numbers:
            raise UsageError(f"objective:reconstruct: corrupt:{corrupt.name} hides ids; objective:masked asks for them")
        self.head = site.build("head", head.but(outputs=self.corrupt.numbers))
        self.hidden = site.param("hidden", (site.stream,), normal(0.02))

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        return self.corrupt(batch, draw)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"hidden": batch.targets.isfinite().sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        asked = batch.targets.isfinite()
        flow = model.run(model.start(batch, points={"stem:embedded": self._hiding(asked.any(-1))}))
        hidden = model.finish(flow).hidden
        said, *_ = self.head(hidden, flow.call, None)
        numbers = upcast(said[self.head.says])[:, -asked.shape[1] :]
        if numbers.shape != asked.shape:
            raise UsageError(
                f"objective:reconstruct: {asked.shape[1]} tokens are asked, and the model ends with {hidden.shape[1]}"
            )
        off = (numbers - batch.targets.nan_to_num()).masked_fill(~asked, 0)
        return {"hidden": (off.square().sum(), asked.sum(), 1.0)}

    def _hiding(self, where: Tensor) -> Callable[[Tensor], Tensor]:
        """What replaces the tokens of a stem (B,N,D) where they are hidden (B,N)."""

        def shown(x: Tensor) -> Tensor:
            if x.shape[:2] != where.shape:
                raise UsageError(
                    f"objective:reconstruct: the corruption cuts a row into {where.shape[1]} tokens, "
                    f"the stem into {x.shape[1]}"
                )
            return torch.where(where[..., None], self.hidden.to(x.dtype), x)

        return shown
