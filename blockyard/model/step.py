"""What a model is made of between its ends: a sublayer behind a residual rule, or a junction."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from blockyard.core.call import Call, Captures
from blockyard.core.errors import UsageError
from blockyard.core.site import Site
from blockyard.core.spec import Spec
from blockyard.core.state import tree_map


class Step(nn.Module):
    """One sublayer behind one residual rule."""

    def __init__(self, site: Site, part: Spec, rule: Spec) -> None:
        super().__init__()
        self.rule = site.build("rule", rule)
        self.part = site.build("part", part)
        self.ports: tuple[str, ...] = self.part.ports
        self.rule.before(self.part, replace(site, path=self.rule.path))
        if self.part.written is not None and self.rule.wider is None:
            raise UsageError(
                f"{self.part.path}: {part.kind}:{part.name} writes {self.part.written.size} channels of its own, and "
                f"residual:{rule.name} takes what is as wide as the stream; take a rule that makes it wider"
            )

    def forward(self, carry: Any, call: Call, state: Any) -> tuple[Any, Any]:
        """The carry and the leaves after this step."""
        rule, ports = self.rule, self.ports
        call = rule.handed(carry, call)
        read = self._beside(carry, ports, call) if "stream" in ports else rule.read(carry, ports, call)
        y, state = self.part(read, call, state)
        return rule.write(carry, y, call), state

    def _beside(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        """What the sublayer reads at its ports: the stream as it stands, all else as the rule says."""
        others = tuple(port for port in ports if port != "stream")
        read = self.rule.read(carry, others, call)
        given = dict(zip(others, read if len(others) > 1 else (read,)), stream=self.rule.flush(carry, call))
        return tuple(given[port] for port in ports)


class Passage(nn.Module):
    """A junction between steps: the flow is flushed, and goes on as the junction says."""

    def __init__(self, site: Site, part: Spec) -> None:
        super().__init__()
        self.part: Any = site.build("part", part)

    def forward(self, x: Tensor, call: Call, state: Any) -> tuple[Tensor, Call, Any]:
        """The stream, the call and the leaves from here on."""
        return self.part(x, call, state)


def with_captures(unit: Step, carry: Any, call: Call, leaves: Any) -> tuple[Any, Any, Captures]:
    """A step that returns its captures, so that a recomputation throws its own away."""
    captures: Captures = {}
    carry, leaves = unit(carry, call._replace(captures=captures), leaves)
    return carry, leaves, captures


def like(rows: Tensor, x: Tensor) -> Tensor:
    """What is said of rows of tokens (B,T), in the shape of x (B,T,...)."""
    return rows.reshape(*rows.shape, *[1] * (x.dim() - 2))


def within(fn: Any, new: Any, old: Any, rule: Any) -> Any:
    """The carry with what a step wrote for some tokens: the others keep what they had, so there must be something."""

    def written(y: Tensor, before: Tensor) -> Tensor:
        if y.shape[2:] != before.shape[2:]:
            raise ValueError("this tensor has another shape")
        return fn(y, before)

    try:
        return tree_map(written, new, old)
    except ValueError:
        raise UsageError(
            f"{rule.path}: residual:{rule.spec.name} changes the shape of its carry; such a step runs on all tokens"
        ) from None
