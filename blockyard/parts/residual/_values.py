"""What rules share that carry the first layer's values beside the stream."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from blockyard.core import Call, Residual, Site, Spec, UsageError
from blockyard.core.part import Part

POINT = "v"


class CarriesValues(Residual, ABC):
    """The stream and the first layer's values (B,T,...); `mixed` says what a later layer's become."""

    def __init__(self, site: Site, norm: Spec) -> None:
        super().__init__()
        self.norm = site.build("norm", norm)
        self.holder = ""

    @abstractmethod
    def mixed(self, v: Tensor, meeting: "Meeting") -> Tensor:
        """Values of a later layer of the shape of the first ones, as one with those."""

    def met(self, part: Any, site: Site) -> None:
        """Once, in every layer but the first of its kind, when it is known whose values are mixed."""

    def before(self, part: Part, site: Any) -> None:
        found = [each for each in part.modules() if isinstance(each, Part) and _has_values(each)]
        name = f"residual:{self.spec.name}"
        if len(found) > 1:
            raise UsageError(f"{site.path}: {name} mixes one part's values, and {part.path} has several")
        if not found:
            if site.step == 0 and part.spec.kind == "mixer":
                raise UsageError(f"{site.path}: {name} mixes values, and {part.spec.name} has no point {POINT}")
            return
        self.holder = found[0].path
        for path, axis in site.context.axes.items():
            if path.startswith(f"{self.holder}."):
                axis.fixed = "its values meet those of other layers"
        if site.ordinal:
            self.met(found[0], site)

    def start(self, x: Tensor, call: Call) -> Any:
        return x, x.new_zeros(*x.shape[:2], 0)  # no values yet

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        return self.norm(carry[0], call)

    def handed(self, carry: Any, call: Call) -> Call:
        if not self.holder:
            return call
        asked = call.points or {}
        at = (self.holder, POINT)
        return call._replace(points={**asked, at: Meeting(self, carry, call, asked.get(at))})

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        x, first = carry
        meeting = (call.points or {}).get((self.holder, POINT))
        return x + y, meeting.first if isinstance(meeting, Meeting) else first

    def flush(self, carry: Any, call: Call) -> Tensor:
        return carry[0]


class Meeting:
    """What stands at the point of a sublayer's values, for one run of it: `first` is what is carried on."""

    def __init__(self, rule: CarriesValues, carry: Any, call: Call, asked: Any) -> None:
        self.rule, self.call, self.asked = rule, call, asked
        self.x, self.first = carry
        self.made_of: Tensor | None = None  # what the values are made of, where a rule asks for it

    def __call__(self, v: Tensor) -> Tensor:
        if self.first.shape[-1] == 0 and v.shape[:2] == self.x.shape[:2]:
            self.first = v
        elif self.first.shape == v.shape:
            v = self.rule.mixed(v, self)
        if self.asked == "read":
            self.call.capture(self.rule.holder, POINT, v)
        return v if self.asked in (None, "read") else self.asked(v)


def _has_values(part: Part) -> bool:
    """Whether a part makes values of the tokens of the stream; what reads another stream makes them of that one's."""
    return POINT in part.points and not part.claims.get("per_token")
