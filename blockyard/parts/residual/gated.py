"""Let a gated recurrent unit decide, channel by channel, what of a sublayer's words enters the stream.

    y = relu(F(N(x)))        r = sigmoid(W_r y + U_r x)        z = sigmoid(W_z y + U_z x - b)
    h = tanh(W_h y + U_h (r * x))        x <- (1 - z) * x + z * h

b starts at 2, so that little enters at first.

Shapes   x, y, r, z, h (B,T,D)   b (D)
Source   arXiv 1910.06764    Family  residual
Tags     agent=stabiliser
Differs  nothing known
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Cat, Residual, Site, Spec, constant
from blockyard.core.settings import NormSpec, Number


class Gated(Residual):
    claims = dict(per_token=True, row_independent=True)
    points = ("reset", "update")

    def __init__(
        self, site: Site, *, norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
        shut: Annotated[Number, "how far the gate of what enters is shut at first"] = 2.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.of_written, self.of_stream = Cat(*[site.stream] * 3), Cat(*[site.stream] * 2)
        self.written = site.linear("written", site.stream, self.of_written)
        self.old = site.linear("old", site.stream, self.of_stream)
        self.kept = site.linear("kept", site.stream, Cat(site.stream))
        self.shut = site.param("shut", (site.stream,), constant(shut))

    def read(self, carry: Tensor, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry, call)

    def write(self, carry: Tensor, y: Tensor, call: Call) -> Tensor:
        reset, update, fresh = self.of_written.split(self.written(y.relu(), call))
        old_reset, old_update = self.of_stream.split(self.old(carry, call))
        reset = self.point("reset", (reset + old_reset).sigmoid(), call)
        update = self.point("update", (update + old_update + -self.shut.to(y.dtype)).sigmoid(), call)
        fresh = 2 * (2 * (fresh + self.kept(reset * carry, call))).sigmoid() - 1  # tanh
        return carry + update * (fresh + -carry)
