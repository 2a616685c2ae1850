"""Sublayers with a channel attached to them: the base runs as it did, and what the channel says is added to its words.

A part that is attached to another holds that one in the slot that it names as `attached_to`. All that is said of such
parts (what trains, what is saved alone, how they are taken off again) follows from this one word.
"""

from typing import Any

from torch import Tensor

from blockyard.core.call import Call
from blockyard.core.claims import keeps, together
from blockyard.core.errors import UsageError
from blockyard.core.part import Sublayer
from blockyard.core.site import Site, constant
from blockyard.core.spec import Spec


class Attached(Sublayer):
    """A sublayer `base`, and a channel `branch` whose words count `factor` times."""

    attached_to = "base"

    def __init__(self, site: Site, base: Spec, branch: Spec, factor: float, learned: bool) -> None:
        super().__init__()
        self.base, self.branch = site.build("base", base), site.build("branch", branch)
        if not keeps(self.branch.claims, self.branch.known, "per_token"):
            raise UsageError(f"{site.path}: what is attached reads each token alone, channel:{branch.name} does not")
        self.factor: Any = site.param("factor", (), constant(factor)) if learned else factor
        shared = together((self.base, self.branch))
        self.claims = {name: value for name, value in shared.items() if name in type(self).claims}
        self.ports = self.base.ports

    def added(self, x: Tensor, call: Call) -> Tensor:
        """What the channel says of x (B,T,D), as it counts."""
        return self.point("added", self.factor * self.branch(x, call)[0], call)


class AttachedBeside(Attached):
    """The branch reads the stream as it stands, whatever the base reads: y = base(...) + factor branch(stream)."""

    def __init__(self, site: Site, base: Spec, branch: Spec, factor: float, learned: bool) -> None:
        super().__init__(site, base, branch, factor, learned)
        self.ports = tuple(dict.fromkeys((*self.base.ports, "stream")))

    def forward(self, x: Any, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        given = dict(zip(self.ports, x if isinstance(x, tuple) else [x] * len(self.ports)))  # alone: x is the stream
        read = [given[port] for port in self.base.ports]
        y, state = self.base(tuple(read) if len(read) > 1 else read[0], call, state)
        return y + self.added(given["stream"], call), state


class AttachedBehind(Attached):
    """The branch reads what the base says: z = base(...), y = z + factor branch(z)."""

    def forward(self, x: Any, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        y, state = self.base(x, call, state)
        return y + self.added(y, call), state
