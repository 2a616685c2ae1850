"""The residual rule of some steps becomes another one; everything that was learned stays.

    (x, F) under rule P  ->  (x, F) under rule Q        at these steps

Parts that both rules hold under one name, such as the norm of what is read, stay with their numbers, unless the new
rule is given with another. What else Q learns is new. Where a step under Q follows one under P the stream is whole.

Source   arXiv 2501.06589 (late blocks of a trained model)
Family   residual
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Annotated, Any

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.part import Part
from blockyard.core.settings import Natural, Places, ResidualSpec
from blockyard.core.spec import Spec
from blockyard.model.model import Model
from blockyard.transform._base import Applied, Transform
from blockyard.transform._refill import exchanged, refilled


class SwapResidual(Transform):
    example = dict(rule="replace", steps=(1,))

    def __init__(
        self, *, rule: Annotated[ResidualSpec, "the rule that comes"],
        steps: Annotated[Places, "the steps that get it, counted from 0; none: all"] | None = None,
        seed: Annotated[Natural, "of the first numbers of what is new"] = 0,
    ) -> None:  # fmt: skip
        self.rule, self.steps, self.seed = rule, steps, seed

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys(self._rules(model)[0], f"residual:{self.rule.name}")

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        rules, left = self._rules(model)
        spec = exchanged(model, {path: self._after(rule) for path, rule in rules.items()})
        made, lineage, new = refilled(model, spec, self.seed)
        report = {"new": sum(made.get_parameter(name).numel() for name in new)}
        return Applied(made, self.plan(model), left, report, lineage)

    def _rules(self, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The rules that go, by path, and the paths of those that stay."""
        every = {step: getattr(unit, "rule", None) for step, unit in enumerate(model.steps)}
        rules = {step: rule for step, rule in every.items() if rule is not None}  # a junction has none
        wrong = [step for step in self.steps or () if step not in rules]
        if wrong or self.steps == ():
            said = ", ".join(map(str, wrong)) or "none"
            raise UsageError(f"swap_residual: no residual rule stands at steps {said}; there are 0 to {max(every)}")
        found = {rule.path: rule for step, rule in rules.items() if self.steps is None or step in self.steps}
        return found, tuple(rule.path for rule in rules.values() if rule.path not in found)

    def _after(self, rule: Part) -> Spec:
        """The spec of the new rule in the place of an old one, with the parts that it takes over."""
        known, given = registry.find("residual", self.rule.name).arguments, dict(self.rule.settings)
        held = {name: part.spec for name, part in rule.named_children() if isinstance(part, Part)}
        return self.rule.but(**{name: spec for name, spec in held.items() if name in known and name not in given})
