"""Everything that moves through a model, as one immutable object: an old flow can be run again, or another way."""

from typing import Any, NamedTuple

from torch import Tensor

from blockyard.core.call import Call, Captures, gather
from blockyard.core.state import State


class Flow(NamedTuple):
    """A stream on its way: what a residual rule carries, and all that goes with it."""

    carry: Any
    rule: Any  # the residual rule that owns the carry; None before the first step
    call: Call
    state: State | None
    captures: Captures  # of hook points, by (step, loop, path, name)

    @property
    def x(self) -> Tensor:
        """The stream (B,T,D) as a head would read it now."""
        return self.carry if self.rule is None else self.rule.flush(self.carry, self.call)

    def behind_lead(self) -> "Flow":
        """The stream without the virtual tokens that a stem put before each row."""
        lead = self.call.lead
        return self._replace(carry=self.x[:, lead:], rule=None, call=self.call.behind_lead()) if lead else self

    def only(self, index: Tensor) -> "Flow":
        """The stream of these tokens alone, flat positions (R,K): what reads each by itself says what it said."""
        flow = self.behind_lead()
        return flow._replace(carry=gather(flow.x, index), rule=None, call=flow.call.regroup(index))

    def under(self, rule: Any) -> "Flow":
        """The flow under another rule: flushed and started anew where the kind of rule changes."""
        if self.rule is None:
            return self._replace(carry=rule.start(self.carry, self.call), rule=rule)
        if self.rule.spec is rule.spec or self.rule.spec == rule.spec:
            return self._replace(rule=rule)
        return self._replace(carry=rule.start(self.x, self.call), rule=rule)
