"""A sublayer reads the stream as it was before the last one wrote, so that what that one wrote may still be on its way.

    r_s = h + sum_{j < s-d} u_j        u_s = F_s(N_s(r_s))        the stream: h + sum_j u_j        d the delay

With d = 0 this is pre-norm; with d = 1 attention and channel of the first layer both read h. The carry is what has
arrived, and d outputs that have not, zeros at first. Nothing looks into these before they arrive: under tensor
parallelism the sum over devices of u_s runs while sublayer s + 1 computes. Whoever else looks at the stream (the head,
a rule of another kind, an early exit) finds it whole, so where the rule changes all devices wait.

    S sublayers that compute for p, sums that take c:    S (p + c) with d = 0,    S max(p, c) + min(p, c) with d >= 1

Shapes   x, r, u (B,T,D)
Source   arXiv 2501.06589    Slug  ladder-residual    Family  residual
Differs  the delay is a setting (paper: 1); here devices are simulated, not driven
"""

from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec
from blockyard.core.settings import Natural, NormSpec


class Ladder(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = (dict(delay=0), {}, dict(delay=3))

    def __init__(
        self, site: Site, *, delay: Annotated[Natural, "how many of the last outputs a sublayer does not read"] = 1,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.delay = delay

    def start(self, x: Tensor, call: Call) -> Any:
        return (x, *[torch.zeros_like(x)] * self.delay)

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry[0], call)

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        x, first, *later = (*carry, y)
        return (x + first, *later)

    def flush(self, carry: Any, call: Call) -> Tensor:
        x, *pending = carry
        for u in pending:
            x = x + u
        return x


def elapsed(steps: int, compute: float, reduce: float, delay: int = 1) -> float:
    """When the last output of so many sublayers is known everywhere: events, one sum on the wire at a time.

    compute   seconds of a sublayer        reduce   seconds of the sum of its output over devices
    """
    now, known = 0.0, list[float]()  # when the last sublayer is done; when each output has been summed
    for step in range(steps):
        read = known[step - 1 - delay] if step > delay else 0.0  # the last output that this one reads
        now = max(now, read) + compute
        known.append(max(now, known[-1] if known else 0.0) + reduce)
    return known[-1]
