"""Read a sound as frames of its spectrogram on the mel scale, each mapped to a token; add positions from the slot.

    p_t = |FFT(hann * s[h t : h t + w])|^2 / w      m_t = (log10(M p_t + 1e-6) + 3) / 3      x_t = W m_t + b  (+ P[t])

A frame counts where all of its samples do; the first one always.

Shapes   samples (B,S)   x (B,T,D), T = 1 + (S - w) // h   M (mels, bins): triangles evenly spaced in mel
Source   arXiv 2212.04356    Family  stem
Differs  a fixed floor and scale in place of those of the loudest frame, so that no frame depends on a later one
"""

import math
from contextlib import nullcontext
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Batch, Call, Site, Stem, UsageError
from blockyard.core.part import acting
from blockyard.core.settings import Count, PositionSpec, Positive


class LogMel(Stem):
    reads = "sounds"
    points = ("frames",)
    claims = dict(row_independent=True, bidirectional=True)
    around = dict(head=("classes", {}))
    variants = (dict(rate=200.0, hop=2, window=5, mels=8), dict(rate=200.0, hop=3, window=8, position="sinusoidal"))

    def __init__(
        self, site: Site, *, rate: Annotated[Positive, "samples a second"] = 16000.0,
        hop: Annotated[Count, "samples from one frame to the next"] = 160,
        window: Annotated[Count, "samples of a frame"] = 400,
        mels: Annotated[Count, "bands of the spectrogram"] = 40, position: PositionSpec | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.hop, self.window, self.size = hop, window, 1 << (window - 1).bit_length()
        self.mels = site.axis("mels", mels)
        self.mels.fixed = "the bands of a spectrogram share all of its frequencies"
        self.bands = site.buffer("bands", lambda _: triangles(mels, self.size // 2 + 1, rate))
        self.proj = site.linear("proj", self.mels, site.stream, bias=True, gain=site.steps**0.5)
        self.position = acting(site.slot("position", position), "at_input")

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        return Batch(torch.randn(rows, self.window + (length - 1) * self.hop, generator=draw))

    def forward(self, batch: Batch, call: Call, state: Any = None) -> tuple[Tensor, Call, Any]:
        frames = self.frames(call.zero_invalid(batch.tokens))
        valid = None if batch.valid is None else self.counted(batch.valid)
        call = call.laid(frames.shape[1])._replace(valid=valid, aligned=valid is None)
        frames = self.point("frames", frames.to(next(self.proj.parameters()).dtype), call)
        x = self.proj(frames, call)
        if self.position is not None:
            x = self.position.at_input(x, call)
        return x, call, state

    def frames(self, samples: Tensor) -> Tensor:
        """Samples (B,S) -> (B,T,mels), about between -1 and 1."""
        if samples.shape[1] < self.window:
            raise UsageError(
                f"{self.path}: a frame has {self.window} samples, and these sounds have {samples.shape[1]}"
            )
        samples = samples if samples.dtype == torch.float64 else samples.float()
        pieces = samples.unfold(1, self.window, self.hop)
        hann = torch.hann_window(self.window, dtype=samples.dtype, device=samples.device)
        power = torch.fft.rfft(pieces * hann, self.size).abs().square() / self.window
        kind = samples.device.type
        with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):  # what is quiet would be lost
            bands = power @ self.bands.to(power.dtype).T
        return (torch.log10(bands + 1e-6) + 3) / 3

    def counted(self, valid: Tensor) -> Tensor:
        """(B,T) the frames all of whose samples count, and the first."""
        whole = valid.unfold(1, self.window, self.hop).all(-1)
        return torch.cat([torch.ones_like(whole[:, :1]), whole[:, 1:]], 1)


def triangles(mels: int, bins: int, rate: float) -> Tensor:
    """(mels, bins) weights: each band rises and falls over its neighbours' centres, evenly spaced in mel; sums are 1.

    A band narrower than the bins takes the one nearest to its centre.
    """
    places = torch.linspace(0, 2595 * math.log10(1 + rate / 1400), mels + 2, dtype=torch.float64)
    edges = 700 * (10 ** (places / 2595) - 1) / (rate / 2) * (bins - 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bin_ = torch.arange(bins, dtype=torch.float64)
    weights = torch.minimum((bin_ - low) / (centre - low), (high - bin_) / (high - centre)).clamp(min=0)
    nearest = torch.nn.functional.one_hot(centre[:, 0].round().long().clamp(max=bins - 1), bins).to(weights)
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, nearest)
    return (weights / weights.sum(1, keepdim=True)).float()
