"""Rotary positions whose speeds flow, by a learned differential equation, with how much longer a row is.

    (x_i, x_{i+K/2}) <- rotation by p * e^{z_i(t)}        z_i(1) = -(2i/K) ln base,  i < K/2
    dz/dt = W_2 silu(W_1 (z + ln v(t))) - 2 r / (2t - 1)        r_i = 2i/(K-2),  ln v(t) = z(1) - r ln(2t - 1)

t is the length of a row in lengths of training, rounded up, and at most `most`. W_2 = 0 at first: then the base grows
as in `position:ntk` with a factor of 2t - 1. A forward of training draws t from 1, ..., `most` and, for its T tokens,
T different positions of t T in their order, the first and the last among them. Solved by RK4 with fixed steps, in the
widest precision; one equation for all layers. Keys that a state keeps have turned at the speeds of one t, so a state
needs `times`, one t for a whole text.

Shapes   q (B,T,H,K)   k (B,T,G,K)   W_1 (F,K/2)   W_2 (K/2,F)   tables (B or 1,T,1,K/2), made once a forward
Source   arXiv 2310.16450    Slug  clex    Family  position
Differs  W_1 is drawn by the pairs that it reads; t is counted for each row and packed document, not for the batch
"""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn import Parameter
from torch.nn.functional import silu

from blockyard.core import Axis, Call, Site, UsageError, constant, uniform_in
from blockyard.core.settings import Base, Count, Inner, Trained
from blockyard.parts.position._rope import Rotary, document_lengths


class Clex(Rotary):
    claims = dict(causal=True, packs=True, row_independent=True, bidirectional=True, any_order=True, fixed=True)
    variants = (dict(trained=5, most=3), dict(times=2, inner=3), {})

    def __init__(
        self, site: Site, *, trained: Trained | None = None,
        most: Annotated[Count, "the largest t: rows longer than so many of training turn as these"] = 16,
        times: Annotated[Count, "t of all rows outside training; none: what the length of each asks"] | None = None,
        inner: Annotated[Inner, "channels of the equation; none: those of a head"] | None = None,
        substeps: Annotated[Count, "steps of the solver from one whole t to the next"] = 10,
        base: Base = 10000.0,
    ) -> None:  # fmt: skip
        super().__init__(site, base)
        if times is not None:
            if times > most:
                raise UsageError(f"{site.path}: times={times} must be at most {most} (most)")
            self.claims = {**self.claims, "streams": True}
        self.trained, self.most, self.fixed, self.substeps = trained or site.length, most, times, substeps
        self.head_dim.fixed = "the speeds of all pairs follow one learned equation"
        half, wide = self.head_dim.size // 2, inner or self.head_dim.size

        axes: list[Axis] = []  # of whoever is asked first, who makes both

        def shared(name: str, make: Callable[[], Parameter]) -> Parameter:
            return site.shared(name, f"clex {name} {half} {wide} {base}", make)

        def up() -> Parameter:
            axes[:] = site.axis("inner", wide), site.axis("pairs", half)
            axes[1].fixed = self.head_dim.fixed
            return site.param("up", tuple(axes), uniform_in(-(half**-0.5), half**-0.5))

        self.up = shared("up", up)
        self.down = shared("down", lambda: site.param("down", tuple(axes[::-1]), constant(0.0)))
        self.kept: tuple[Tensor, Tensor, Tensor] | None = (
            None  # both matrices and what was solved of them, outside training
        )
        self.solved = 0  # how often: what was recorded of this part is out of date when it is solved anew

    def slope(self, t: float, z: Tensor) -> Tensor:
        """dz/dt (K/2,)."""
        reach, longer = self.reach(z.device), torch.tensor(2 * t - 1, dtype=z.dtype, device=z.device)
        read = z + self.start(z.device) - reach * longer.log()
        return silu(read @ self.up.to(z.dtype).T) @ self.down.to(z.dtype).T - 2 * reach / longer

    def start(self, device: torch.device) -> Tensor:
        """z(1) (K/2,)."""
        powers = self.powers(device)
        return -powers * torch.tensor(self.base, dtype=powers.dtype, device=device).log()

    def flow(self, z: Tensor, begin: float, end: float, steps: int) -> Tensor:
        """z at `end` of what is z at `begin`, in so many equal steps of RK4."""
        h = (end - begin) / steps
        for t in (begin + i * h for i in range(steps)):
            a = self.slope(t, z)
            b = self.slope(t + h / 2, z + h / 2 * a)
            c = self.slope(t + h / 2, z + h / 2 * b)
            z = z + h / 6 * (a + 2 * b + 2 * c + self.slope(t + h, z + h * c))
        return z

    def solve(self, last: int, device: torch.device) -> Tensor:
        """(last,K/2) the speeds at t = 1, ..., `last`; the first ones are those of rope to the last bit."""
        z, found = self.start(device), [self.base ** -self.powers(device)]
        for t in range(1, last):
            z = self.flow(z, t, t + 1, self.substeps)
            found.append(z.exp())
        return torch.stack(found)

    def solution(self, last: int, device: torch.device) -> Tensor:
        """The same, kept from one forward to the next where nothing learns."""
        if torch.is_grad_enabled() or is_compiling() or self.up.is_meta:
            return self.solve(last, device)
        kept = self.kept
        if kept is None or len(kept[-1]) < last or not all(map(_same, kept, (self.up, self.down, kept[-1].to(device)))):
            kept = self.up.detach().clone(), self.down.detach().clone(), self.solve(last, device)
            self.kept, self.solved = kept, self.solved + 1
        return kept[-1][:last]

    def speeds(self, call: Call) -> Tensor:
        device, length = call.positions.device, call.positions.shape[1]
        if call.training:
            t = self.drawn(call)
            whole = is_compiling() or t.is_meta  # then no loop may depend on what was drawn
            return self.solve(self.most if whole else int(t), device).index_select(0, t[None] - 1)[0]
        if self.fixed is not None:
            return self.solution(self.fixed, device)[-1]
        lengths = document_lengths(call, self.path, "times=, one t for a whole text")
        last = max(1, min(self.most, -(-length // self.trained)))
        t = (-(-lengths // self.trained)).clamp(1, last)
        return self.solution(last, device)[t - 1][..., None, :]

    def places(self, call: Call) -> Tensor:
        if not call.training:
            return super().places(call)
        t, length = self.drawn(call), call.positions.shape[1]
        at = torch.arange(self.most * length, device=t.device)
        order = self.numbers(call, "places", len(at)).masked_fill(at >= t * length, 2.0)
        order = order.masked_fill(at == t * length - 1, -1.0).masked_fill(at == 0, -2.0)
        return order.topk(length, largest=False).indices.sort().values[super().places(call)]

    def drawn(self, call: Call) -> Tensor:
        """() t of this forward of training."""
        return (self.numbers(call, "t", 1)[0] * self.most).long() + 1

    def numbers(self, call: Call, what: str, count: int) -> Tensor:
        """The same numbers in [0,1) for all layers of a forward."""
        return call._replace(step=-1, loop=0).uniform(f"clex {what}", (count,))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
