"""Say the mean of a window's first feature over its steps, from a window of which some numbers are zeros.

    round(share L) of the L steps of every feature are hidden, drawn for each by itself
    loss = sum over series of (head(h_s) - mean_t f_t1)^2  /  their number

The head is the objective's own, and is gone with it. With share=0 the answer is a linear map of what is shown.

Shapes   tokens (B,S,L,F)   h (B*S,L,D), the stream that the head reads   targets (B,S), not a number if not asked
Source   arXiv 2506.16746    Slug  sspt    Family  series
Differs  nothing known
"""

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site, Spec, upcast
from blockyard.core.part import Draws
from blockyard.core.settings import Fraction, HeadSpec


class WindowMean(Objective):
    learns = "window means"
    around = dict(stem=("panel", {}), head=("panel_scores", {}))

    def __init__(
        self, site: Site, *, share: Annotated[Fraction, "of the steps, how many of each feature are hidden"] = 0.3,
        head: Annotated[HeadSpec, "what says the number"] = Spec("head", "row_values", (("norm", None),)),
    ) -> None:  # fmt: skip
        super().__init__()
        self.share = share
        self.head = site.build("head", head.but(outputs=1))

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        return Batch(batch.tokens, batch.tokens[..., 0].mean(2))

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        assert batch.targets is not None
        hidden = self.hidden(draw("hidden", tuple(batch.tokens.shape)).to(batch.tokens.device))
        means = batch.tokens[..., 0].mean(2).masked_fill(~batch.targets.isfinite(), torch.nan)
        return replace(batch, tokens=batch.tokens.masked_fill(hidden, 0), targets=means)

    def hidden(self, drawn: Tensor) -> Tensor:
        """(B,S,L,F) the steps of each feature whose numbers, drawn in [0,1), are the smallest."""
        count = round(self.share * drawn.shape[2])
        return drawn.argsort(2).argsort(2) < count

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"mean": batch.targets.isfinite().sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        flow, asked = model.run(model.start(batch)), batch.targets.isfinite()
        said, *_ = self.head(model.finish(flow).hidden, flow.call, None)
        numbers = upcast(said[self.head.says]).view(asked.shape)
        off = (numbers - batch.targets.nan_to_num()).masked_fill(~asked, 0)
        return {"mean": (off.square().sum(), asked.sum(), 1.0)}
