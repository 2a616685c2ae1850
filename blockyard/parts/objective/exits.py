"""Another objective's loss behind several blocks, beside that at the end: the head learns to be read early as well.

    loss = L(head(x_N)) + weight * sum over k in `after` of L(head(x_k))

x_k: the stream behind k blocks, every loop of one counted by itself; x_0: what the stem gives. There is one forward for
all, and one head. A block that a step leaves out leaves the stream as it was.

Shapes   those of the objective
Source   arXiv 2404.16710, 1606.04838 (early predictions)    Family  objective
Differs  all exits have one weight, at every step
"""

from typing import Annotated, Any

from torch import Tensor

from blockyard.core import Batch, Objective, Site, Spec, UsageError
from blockyard.core.part import Draws
from blockyard.core.settings import NonNegative, ObjectiveSpec, Places


class Exits(Objective):
    around = dict(head=("lm", {}))

    def __init__(
        self, site: Site, *, after: Annotated[Places, "how many blocks stand before each exit"] = (1,),
        objective: ObjectiveSpec = Spec("objective", "next_token"),
        weight: Annotated[NonNegative, "what the loss of each exit is multiplied by"] = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(set(after)) < len(after):
            raise UsageError(f"objective:exits: after={after} names an exit twice")
        self.inner, self.exits, self.weight = site.build("objective", objective), after, weight
        if self.inner.forwards:
            raise UsageError(f"objective:exits: objective:{objective.name} makes forwards of its own; take another one")

    @classmethod
    def speaks(cls, settings: dict[str, Any]) -> int:
        return len(settings.get("after", (1,)))

    def adopt(self, model: Any, before: Any) -> None:
        """Refuse exits that the model does not have."""
        for claim in self.inner.needs:
            model.require(claim, f"objective:{self.inner.spec.name}")
        count = sum(loops for _, loops in model.depth.plan())
        late = [place for place in self.exits if place >= count]
        if late:
            raise UsageError(
                f"objective:exits: the model has {count} blocks, and its end stands behind the last of them; "
                f"after={late[0]} is no exit before it"
            )
        self.inner.adopt(model, before)

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        return self.inner.prepare(batch, draw)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        asked = self.inner.counts(batch)
        return asked | {_named(name, place): count for place in self.exits for name, count in asked.items()}

    def after(self, model: Any) -> None:
        self.inner.after(model)

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        return self.inner.example(model, rows, length, draw)

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        shared: dict[str, Any] = {}
        found = self.inner(_Exit(model, shared, None), batch)
        for place in self.exits:
            for name, (total, count, weight) in self.inner(_Exit(model, shared, place), batch).items():
                found[_named(name, place)] = (total, count, weight * self.weight)
        return found


def _named(name: str, place: int) -> str:
    return f"{name} after {place}"


class _Exit:
    """A model as an objective sees it that ends behind so many blocks (None: at its end); all share one forward."""

    def __init__(self, model: Any, shared: dict[str, Any], place: int | None) -> None:
        self.model, self.shared, self.place = model, shared, place

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, batch: Batch, state: Any = None, **request: Any) -> Any:
        return self.finish(self.run(self.start(batch, state, **request)))

    def start(self, batch: Batch, state: Any = None, **request: Any) -> Any:
        if "start" not in self.shared:
            self.shared["start"] = self.model.start(batch, state, **request)
        return self.shared["start"]

    def run(self, flow: Any, steps: Any = None) -> Any:
        if "flows" not in self.shared:
            self.shared["flows"] = [flow._replace(captures={}), *self.model.through(flow)]
        return self.shared["flows"][-1 if self.place is None else self.place]
