"""A learned factor for each number inside a sublayer: what mixers read from the stream, what channels are to write.

    y = l * W x  of projections that write inside        y = W (l * x)  of those that write to the stream        l = 1

The new model says what the old one said, to the bit. A phase that trains `attached` trains the factors alone; `merge`
multiplies them into the matrices, `detach` takes them off.

Source   arXiv 2205.05638
Family   adapters
Differs  queries that are one projection with keys and values are scaled as well; mixers of other kinds are too
"""

from collections.abc import Sequence
from typing import Annotated, Any

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Patterns
from blockyard.core.spec import Spec, linear
from blockyard.model.model import Model
from blockyard.transform._attach import meant, projections, put, sublayers
from blockyard.transform._base import Applied, Transform


class Ia3(Transform):
    def __init__(
        self, *,
        on: Annotated[Patterns, "patterns of paths of projections; none: in mixers those that write inside, in "
                      "channels those that write to the stream"] | None = None,
    ) -> None:  # fmt: skip
        self.on = on

    def plan(self, model: Model) -> dict[str, str]:
        return {path: f"scaled {spec['side']}" for path, spec in self._where(model).items()}

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        where = self._where(model)
        return put(model, where, "factors", 0, len(projections(model)), "projections")

    def _where(self, model: Model) -> dict[str, Spec]:
        found = projections(model)
        if self.on is None:
            mixers, channels = ([part.path for part in sublayers(model, of)] for of in ("mixer", "channel"))
            found = [p for p in found if _inside(p, channels if _to_stream(model, p) else mixers)]
        else:
            found = meant(found, self.on, "ia3", "projection")
        if not found:
            raise UsageError("ia3: no projection writes inside a mixer here, or from a channel; name some (on)")
        sides = {part.path: "reads" if _to_stream(model, part) else "writes" for part in found}
        return {path: linear("ia3", side=side) for path, side in sides.items()}


def _to_stream(model: Model, part: Any) -> bool:
    """Whether a projection writes what a sublayer gives."""
    return any(use.writes is part.stream for use in model.uses if use.path.startswith(f"{part.path}."))


def _inside(part: Any, paths: Sequence[str]) -> bool:
    return any(part.path.startswith(f"{path}.") for path in paths)
