"""Tell the rows of a table apart, or their classes, by any part of their columns.

    z = P h(part of the columns)        loss = mean_i mean_p -log( e^(z_i.z_p / tau) / sum_{k != i} e^(z_i.z_k / tau) )

h is the row as the head reads it. The columns are cut into parts that stand side by side and reach a little into the
next one; p runs over the other parts of the row, or with `positives=label` over all parts of rows of its class. Where a
batch brings rows `beside` those to classify, these are told apart.

Shapes   cells (B,C) float, not a number where one lacks   z (B,V,W)   targets (B), below 0 where nobody knows
Source   arXiv 2205.09328    Slug  transtab    Family  objective
Differs  columns without a cell in the batch are not counted when parts are cut
"""

import math
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from blockyard.core import Batch, Objective, Site
from blockyard.core.settings import Count, Positive, Share


class Contrastive(Objective):
    learns = "classes"
    around = dict(stem=("columns", {}), head=("classes", {}))
    couples = True
    forwards = 3.0  # a second view costs a forward and a backward, of two forwards

    def __init__(
        self, site: Site, *, views: Annotated[Count, "parts of the columns"] = 2,
        overlap: Annotated[Share, "how far a part reaches into the next one"] = 0.1,
        temperature: Annotated[Positive, "what products are divided by"] = 10.0,
        width: Annotated[Count, "numbers that a part becomes; none: as wide as the stream"] | None = None,
        positives: Annotated[Literal["label", "row"], "what belongs together"] = "label",
    ) -> None:  # fmt: skip
        super().__init__()
        self.views, self.overlap, self.temperature, self.positives = views, overlap, temperature, positives
        self.proj = site.linear("proj", site.stream, site.axis("width", width or site.stream.size))

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        batch = super().example(model, rows, length, draw)
        return replace(batch, targets=torch.randint(0, 2, (rows,), generator=draw))

    def prepare(self, batch: Batch, draw: Any) -> Batch:
        if "beside" not in batch.more:
            return batch
        return Batch(batch.more["beside"], batch.more["beside_targets"])

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"contrastive": torch.tensor(self.views * len(batch.tokens), device=batch.tokens.device)}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        seen = []
        for i, columns in enumerate(self.parts(batch.tokens)):
            hidden = torch.ones(batch.tokens.shape[1], dtype=torch.bool, device=batch.tokens.device)
            hidden[columns] = False
            part = replace(batch, tokens=batch.tokens.masked_fill(hidden, math.nan), targets=None)
            read = model(part, points={"head:pooled": "read"}, seed=i).captures
            seen.append(self.proj(next(value for key, value in read.items() if key[2:] == ("head", "pooled")), None))
        labels = None if self.positives == "row" else batch.targets
        each = contrast(torch.stack(seen, 1).float(), labels, self.temperature)
        return {"contrastive": (each.sum(), self.counts(batch)["contrastive"], 1.0)}

    def parts(self, cells: Tensor) -> list[Tensor]:
        """The columns of every view, of cells (B,C)."""
        pieces = cells.isfinite().any(0).nonzero()[:, 0].tensor_split(self.views)
        reach = math.ceil(len(pieces[0]) * self.overlap)
        ahead = [*[piece[:reach] for piece in pieces[1:]], pieces[max(0, self.views - 2)][-reach:]]
        return [torch.cat(pair) if self.views > 1 else pair[0] for pair in zip(pieces, ahead)]


def contrast(seen: Tensor, labels: Tensor | None, temperature: float) -> Tensor:
    """(V B) the loss of every view of every row: z (B,V,W), labels (B) of what belongs together; none: a row alone."""
    rows, views = seen.shape[:2]
    own = torch.arange(rows, device=seen.device)
    alike = own[:, None] == own
    if labels is not None:
        alike = alike | ((labels[:, None] == labels) & (labels >= 0))
    z = seen.transpose(0, 1).flatten(0, 1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    scores = (z @ z.T / temperature).masked_fill(itself, -math.inf)
    chances = scores - scores.logsumexp(1, keepdim=True)
    positive = alike.repeat(views, views) & ~itself
    return -chances.masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp(min=1)
