"""Say the frames of a row as they were, from frames that were altered along time, along frequency and in magnitude.

    x' = noise(band(spans(x)))        y = W2 N(gelu(W1 h(x')))        loss = mean over marked numbers of |y - x|

spans: round(share T / width) spans of frames become zeros (of 80% of the rows), other spans (10%) or stay (10%)
band: some neighbouring channels become zeros in all frames        noise: normal numbers on whole rows, added last
Marked are the numbers of spans and of the band, in frames that count; all of those, where neither is drawn.

What predicts is the objective's own, and is gone with it.

Shapes   frames x (B,T,F), as the stem has them at its point `frames`   h (B,T,D)   y (B,T,F)
Source   arXiv 2007.06028    Slug  tera    Family  objective
Differs  the mean is over the marked numbers of what is run at once; which frames count is told, not guessed from zeros
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import gelu

from blockyard.core import Batch, Call, Objective, Site, Spec, UsageError, upcast
from blockyard.core.part import Draws
from blockyard.core.settings import Count, Fraction, NonNegative, NormSpec
from blockyard.parts.objective import _alter


class AlteredFrames(Objective):
    learns = "altered frames"
    needs = ("bidirectional",)
    around = dict(stem=("frames", dict(channels=40)), head=("classes", {}))

    def __init__(
        self, site: Site, *, mels: Annotated[Count, "numbers of a frame"] = 40,
        time: Annotated[Fraction, "of the frames, how many spans cover; 0: there are none"] = 0.15,
        width: Annotated[Count, "frames of a span"] = 7,
        frequency: Annotated[Fraction, "of the channels, how many a band has at most; 0: there is none"] = 0.2,
        magnitude: Annotated[Fraction, "of the rows, how many get noise"] = 0.15,
        deviation: Annotated[NonNegative, "of the noise"] = 0.2,
        norm: Annotated[NormSpec, "the norm inside of what predicts"] = Spec("norm", "layer"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.time, self.width, self.frequency = time, width, frequency
        self.magnitude, self.deviation = magnitude, deviation
        inner = site.axis("inner", site.stream.size)
        self.up = site.linear("up", site.stream, inner, bias=True)
        self.norm = site.slot("norm", norm, on=inner)
        self.down = site.linear("down", inner, site.axis("mels", mels), bias=True)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"altered": torch.tensor(len(batch.tokens), device=batch.tokens.device)}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}; the sum is the mean over marked numbers, once for every row."""
        with torch.no_grad():
            before = model.start(batch, points={"stem:frames": "read"})
            frames = next(value for key, value in before.captures.items() if key[2:] == ("stem", "frames"))
            shown, marked = self.altered(frames, before.call.valid, self._draws(before.call))
        flow = model.run(model.start(batch, points={"stem:frames": lambda _: shown}))
        y = self.predicted(model.finish(flow).hidden[:, -frames.shape[1] :], flow.call)
        if y.shape != frames.shape:
            raise UsageError(
                f"objective:altered_frames says {y.shape[2]} numbers a frame, and the stem's have {frames.shape[2]}; "
                f"give objective and stem the same mels"
            )
        off = (upcast(y) - upcast(frames)).abs().masked_fill(~marked, 0)
        rows = self.counts(batch)["altered"]
        return {"altered": (rows * off.sum() / marked.sum().clamp(min=1), rows, 1.0)}

    def altered(self, frames: Tensor, valid: Tensor | None, draw: Draws) -> tuple[Tensor, Tensor]:
        """(B,T,F) the frames as they are shown, and which numbers are marked."""
        counts = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device) if valid is None else valid
        marked = torch.zeros_like(frames, dtype=torch.bool)
        shown = frames
        if self.time:
            shown, spans = _alter.in_time(shown, counts.sum(1), draw, self.time, self.width)
            marked = marked | spans[..., None]
        if self.frequency:
            shown, band = _alter.in_frequency(shown, draw, self.frequency)
            marked = marked | band[:, None]
        if not (self.time or self.frequency):
            marked = ~marked
        if self.magnitude:
            shown = _alter.in_magnitude(shown, draw, self.magnitude, self.deviation)
        return shown, marked & counts[..., None]

    def predicted(self, h: Tensor, call: Call) -> Tensor:
        """(B,T,F) the frames that are read off the stream."""
        return self.down(self.norm(gelu(self.up(h, call)), call), call)

    def _draws(self, call: Call) -> Draws:
        return lambda name, shape: call.uniform(f"objective.altered.{name}", shape)
