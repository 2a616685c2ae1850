"""Name the series that a window is of, or the group that its series is of.

    loss = sum over series of -log softmax(head(h_s))[code of s]  /  their number

The head is the objective's own, and is gone with it. What is not asked otherwise, for a target that is not a number, is
not asked here.

Shapes   tokens (B,S,L,F)   h (B*S,L,D), the stream that the head reads   targets (B,S)
Source   arXiv 2506.16746    Slug  sspt    Family  series
Differs  nothing known
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, Objective, Site, Spec, UsageError
from blockyard.core.settings import Count, HeadSpec, Natural


class SeriesCodes(Objective):
    learns = "codes"
    around = dict(stem=("panel", {}), head=("panel_scores", {}))
    variants = ({}, dict(of="group", groups=(0, 0)))

    def __init__(
        self, site: Site, *, of: Annotated[Literal["series", "group"], "what is to be named"] = "series",
        series: Annotated[Count, "series side by side"] = 2,
        groups: Annotated[tuple[Natural, ...], "the group of each series; none: each is one of its own"] = (),
        head: Annotated[HeadSpec, "what says the classes"] = Spec("head", "classes", (("norm", None),)),
    ) -> None:  # fmt: skip
        super().__init__()
        if groups and len(groups) != series:
            raise UsageError(f"{site.path}: groups={groups} are of {len(groups)} series, and there are series={series}")
        codes = groups if of == "group" and groups else tuple(range(series))
        self.codes = site.buffer("codes", lambda _: torch.tensor(codes))
        self.head = site.build("head", head.but(classes=max(codes) + 1))

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        return Batch(batch.tokens, torch.randn(batch.tokens.shape[:2], generator=draw))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        return {"codes": batch.targets.isfinite().sum()}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        assert batch.targets is not None
        flow = model.run(model.start(batch))
        said, *_ = self.head(model.finish(flow).hidden, flow.call, None)
        asked = batch.targets.isfinite().flatten()
        codes = self.codes.repeat(len(batch.targets)).masked_fill(~asked, -1)
        total = cross_entropy(said[self.head.says].float(), codes, ignore_index=-1, reduction="sum")
        return {"codes": (total, asked.sum(), 1.0)}
