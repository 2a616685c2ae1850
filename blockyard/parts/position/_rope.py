"""Turning pairs of channels by the position: what all rotary positions share.

    (x_i, x_{i+K/2}) <- c * rotation by p w_i        i < K/2

A scheme says how fast each pair turns (`speeds`) and perhaps by which factor c queries and keys grow. Tables of cosines
and sines are made once a forward for all layers.
"""

import torch
from torch import Tensor

from blockyard.core import Call, Position, Site, UsageError, widest_dtype
from blockyard.kernels import rotate


class Rotary(Position):
    """Queries and keys turned by their own positions, at the speeds of a scheme."""

    grown = 1.0  # c: by which queries and keys grow, each

    def __init__(self, site: Site, base: float) -> None:
        super().__init__()
        *_, self.head_dim = site.stream.leaves()
        if self.head_dim.size % 2:
            raise UsageError(f"{site.path}: rope rotates pairs of channels; head_dim={self.head_dim.size} is odd")
        self.head_dim.multiple, self.head_dim.ordered = 2, True
        self.base = base

    def carries(self, carried: int, trained: int, path: str) -> None:
        """Promise to go on from a state in texts of so many tokens: all of them turn alike."""
        if carried > trained:
            raise UsageError(f"{path}: carried={carried} must be at most {trained} (trained)")
        self.claims = {**self.claims, "streams": True}
        self.unrecorded = "how it turns follows from how long the text is"

    def powers(self, device: torch.device) -> Tensor:
        """(K/2,) 2i/K."""
        half = self.head_dim.size // 2
        return torch.arange(half, device=device, dtype=widest_dtype(device)) / half

    def reach(self, device: torch.device) -> Tensor:
        """(K/2,) 2i/(K-2): from 0 for the fastest pair to 1 for the slowest."""
        half = self.head_dim.size // 2
        return torch.arange(half, device=device, dtype=widest_dtype(device)) / max(1, half - 1)

    def speeds(self, call: Call) -> Tensor:
        """(K/2,), or (B or 1,T or 1,1,K/2): how far a pair turns from one position to the next."""
        return self.base ** -self.powers(call.positions.device)

    def places(self, call: Call) -> Tensor:
        """(B or 1,T): the positions that are turned by."""
        return call.positions[:1] if call.aligned else call.positions

    def tables(self, call: Call) -> tuple[Tensor, Tensor]:
        """cos, sin (B or 1,T,1,K/2), times c."""
        angle = self.places(call)[..., None, None] * self.speeds(call)
        return self.as_given(angle.cos(), call), self.as_given(angle.sin(), call)

    def as_given(self, table: Tensor, call: Call) -> Tensor:
        """A table times c, in the dtype of the stream."""
        return (table if self.grown == 1 else table * self.grown).to(call.dtype)

    def prepare(self, call: Call) -> None:
        key = (self.spec, self.head_dim.size)
        if key not in call.memo:
            call.memo[key] = self.tables(call)

    def made(self, call: Call) -> tuple[Tensor, ...]:
        """The tables of this forward."""
        return call.memoised((self.spec, self.head_dim.size), lambda: self.tables(call))

    def at_qk(self, q: Tensor, k: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        cos, sin = (table.to(q.dtype) for table in self.made(call))
        return rotate(q, cos, sin), rotate(k, cos, sin)

    def turned(self, x: Tensor, steps: Tensor, call: Call) -> Tensor:
        if (type(self).at_qk, type(self).places) != (Rotary.at_qk, Rotary.places):  # another way of turning
            return super().turned(x, steps, call)
        angle = steps[..., None, None] * self.speeds(call)
        return rotate(x, angle.cos().to(x.dtype), angle.sin().to(x.dtype))

    def unrotate(self, k: Tensor, call: Call) -> Tensor:
        """The keys as they were before `at_qk`."""
        cos, sin = (table.to(k.dtype) for table in self.back(call))
        return rotate(k, cos, sin)

    def back(self, call: Call) -> tuple[Tensor, Tensor]:
        """The tables that turn back what `tables` turned."""
        cos, sin = self.tables(call)
        return cos / self.grown**2, -sin / self.grown**2


def document_lengths(call: Call, path: str, instead: str, carried: int | None = None) -> Tensor:
    """(B or 1,T or 1) how many tokens the document has that each token is in: all of it, so no state may go on.

    instead   what can go on from a state
    carried   tokens of the longest text that goes on from a state all the same: shorter ones turn alike
    """
    if call.past is not None and carried is not None:
        if not call.positions.is_meta and int(call.positions.max()) >= carried:
            raise UsageError(f"{path}: a text that goes on from a state has at most {carried} tokens (carried)")
        return torch.ones_like(call.positions[:1, :1])
    if call.past is not None:
        raise UsageError(f"{path}: turns keys by the length of the whole row, which a state cannot know; use {instead}")
    if call.aligned:
        return torch.full_like(call.positions[:1, :1], call.positions.shape[1])
    count = call.positions + 1
    count = count if call.valid is None else count.masked_fill(~call.valid, 0)
    if call.segment is None:
        return count.amax(1, keepdim=True)
    most = torch.zeros_like(count).scatter_reduce(1, call.segment, count, "amax")
    return most.gather(1, call.segment)
