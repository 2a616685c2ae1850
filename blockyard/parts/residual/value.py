"""Beside the stream, let the values of the first layer be mixed into those of later ones, before anything weighs them.

    v_l <- (1 - s) v_l + s v_1,  l > 1        x <- x + F(N(x))        s fixed, or two learned numbers a layer

The values are those that a mixer names at its hook point v, of whatever it makes of them; the first ones are carried
with the token, so that a cache holds what was mixed. A sublayer without values is behind pre-norm, and so is one whose
values are of another shape than the first ones, or not one a token of the stream: it keeps its own. Where a rule of
another kind comes between, and at a junction, the next layer is the first one.

Shapes   x (B,T,D)   v (B,T,...), as the mixer has them
Source   arXiv 2410.17897    Family  residual
Differs  one share for all layers; where it is learned, the first layer of each kind of mixer keeps the fixed one
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, UsageError, constant
from blockyard.core.part import Part
from blockyard.core.settings import Fraction, NormSpec

POINT = "v"


class Value(Residual):
    claims = dict(per_token=True, row_independent=True)
    variants = ({}, dict(share=0.3, learned=True))

    def __init__(
        self, site: Site, *, share: Annotated[Fraction, "what the first values count; where it is learned, at first"]
        = 0.5,
        learned: Annotated[bool, "whether every later layer learns what both values count"] = False,
        norm: Annotated[NormSpec, "the norm of what a sublayer reads"] = Spec("norm", "rms"),
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = site.build("norm", norm)
        self.share, self.learned, self.holder = share, learned, ""
        self.own: Any = 1 - share
        self.first: Any = share

    def before(self, part: Part, site: Any) -> None:
        found = [each for each in part.modules() if isinstance(each, Part) and _has_values(each)]
        if len(found) > 1:
            raise UsageError(f"{site.path}: residual:value mixes one part's values, and {part.path} has several")
        if not found:
            if site.step == 0 and part.spec.kind == "mixer":
                raise UsageError(f"{site.path}: residual:value mixes values, and {part.spec.name} has no point {POINT}")
            return
        self.holder = found[0].path
        for path, axis in site.context.axes.items():
            if path.startswith(f"{self.holder}."):
                axis.fixed = "its values meet those of other layers"
        if self.learned and site.ordinal:
            self.own = site.param("own", (), constant(1 - self.share))
            self.first = site.param("first", (), constant(self.share))

    def start(self, x: Tensor, call: Call) -> Any:
        return x, x.new_zeros(*x.shape[:2], 0)  # no values yet

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry[0], call)

    def handed(self, carry: Any, call: Call) -> Call:
        if not self.holder:
            return call
        asked = call.points or {}
        at = (self.holder, POINT)
        return call._replace(points={**asked, at: _Meeting(self, carry, call, asked.get(at))})

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        x, first = carry
        meeting = (call.points or {}).get((self.holder, POINT))
        return x + y, meeting.first if isinstance(meeting, _Meeting) else first

    def flush(self, carry: Any, call: Call) -> Tensor:
        return carry[0]


class _Meeting:
    """What stands at the point of a sublayer's values, for one run of it: `first` is what is carried on."""

    def __init__(self, rule: Value, carry: Any, call: Call, asked: Any) -> None:
        self.rule, self.call, self.asked = rule, call, asked
        self.x, self.first = carry

    def __call__(self, v: Tensor) -> Tensor:
        if self.first.shape[-1] == 0 and v.shape[:2] == self.x.shape[:2]:
            self.first = v
        elif self.first.shape == v.shape:
            v = self.rule.own * v + self.rule.first * self.first
        if self.asked == "read":
            self.call.capture(self.rule.holder, POINT, v)
        return v if self.asked in (None, "read") else self.asked(v)


def _has_values(part: Part) -> bool:
    """Whether a part makes values of the tokens of the stream; what reads another stream makes them of that one's."""
    return POINT in part.points and not part.claims.get("per_token")
