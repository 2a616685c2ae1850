"""After every sublayer, take the moving average out of what is read next, and keep it in a lane of its own.

    s, m <- x, 0 at first        h = s + F(N(s))        s <- h - A h        m <- m + A h        the stream: s + m

A is the mean of `average` tokens around a token, those beyond the ends of a row being its first and its last one; built
from left to right, of the last `average` tokens. So what is kept and what is moved add up to what was there, and the
stream is that of pre-norm but for what sublayers read. With average=1 all is moved: sublayers then read zeros.

Tokens that do not count are skipped, and each document is averaged by itself.

Shapes   x, h, s, m (B,T,D)
Source   arXiv 2106.13008, 2202.07125    Slug  time-series-survey    Family  residual
Differs  a norm before each sublayer, which a slot can leave out; both lanes are as wide as the stream
"""

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from blockyard.core import Call, Residual, Site, Spec, UsageError
from blockyard.core.settings import Count, NormSpec


class Decompose(Residual):
    claims = dict(causal=True, packs=True, row_independent=True, bidirectional=True)
    variants = (dict(average=3), {}, dict(average=1, norm=None))

    def __init__(
        self, site: Site, *, average: Annotated[Count, "tokens that the trend is the mean of, an odd number"] = 25,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads; none: no norm"] | None = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        if not average % 2:
            raise UsageError(f"{site.path}: average={average} has no middle; take an odd number")
        self.average, self.norm = average, site.slot("norm", norm)

    @property
    def reach(self) -> tuple[int, int]:
        """How many tokens before a token and behind it are averaged with it."""
        return (self.average - 1, 0) if self.causal else (self.average // 2, self.average // 2)

    def prepare(self, call: Call) -> None:
        if _apart(call):
            call.memo[_key(*self.reach)] = _neighbours(call, *self.reach)

    def start(self, x: Tensor, call: Call) -> Any:
        return x, torch.zeros_like(x)

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        return carry[0] if self.norm is None else self.norm(carry[0], call)

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        kept, moved = carry
        whole = kept + y
        trend = moving_average(whole, call, *self.reach)
        return whole - trend, moved + trend

    def flush(self, carry: Any, call: Call) -> Tensor:
        return carry[0] + carry[1]


def moving_average(x: Tensor, call: Call, before: int, behind: int) -> Tensor:
    """(B,T,D) the mean of so many tokens before each token, itself and so many behind; ends go on as they are."""
    if not _apart(call):
        padded = pad(x.transpose(1, 2), (before, behind), mode="replicate")
        return avg_pool1d(padded, before + 1 + behind, 1).transpose(1, 2)
    total = torch.zeros_like(x)
    for index in call.memoised(_key(before, behind), lambda: _neighbours(call, before, behind)):
        total = total + x.gather(1, index[..., None].expand_as(x))
    return total / (before + 1 + behind)


def _apart(call: Call) -> bool:
    """Whether some tokens are skipped, or some neighbours are of another document."""
    return call.valid is not None or call.segment is not None


def _key(before: int, behind: int) -> tuple[str, int, int]:
    return "neighbours", before, behind


def _neighbours(call: Call, before: int, behind: int) -> list[Tensor]:
    """(B,T) where the tokens stand that lie so far from each, counted among those that count in its document."""
    counts = torch.ones_like(call.positions, dtype=torch.bool) if call.valid is None else call.valid
    segment = torch.zeros_like(call.positions) if call.segment is None else call.segment
    sizes = torch.zeros_like(call.positions).scatter_add(1, segment, counts.to(call.positions.dtype))
    rank = counts.cumsum(1) - 1
    first = (sizes.cumsum(1) - sizes).gather(1, segment)
    last = first + sizes.gather(1, segment) - 1
    places = (~counts).to(torch.uint8).argsort(dim=1, stable=True)  # those that count come first, in order

    def at(away: int) -> Tensor:
        wanted = torch.minimum(torch.maximum(rank + away, first), last)
        return places.gather(1, wanted.clamp(min=0, max=places.shape[1] - 1))

    return [at(away) for away in range(-before, behind + 1)]
