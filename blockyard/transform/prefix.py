"""Every mixer with queries also reads a few learned keys and values that stand before all tokens, behind a gate.

    context = F's + g softmax_p(q_t . k_p / sqrt K) v_p        g = 0 at first

The new model says what the old one said, to the bit. A phase that trains `attached` trains keys, values and gates
alone. What softmax bends is no matrix: it cannot be merged; `detach` takes it off.

Source   arXiv 2101.00190, 2303.16199
Family   adapters
Differs  mixers that are no attention get one too, where they have queries by head
"""

from collections.abc import Sequence
from typing import Annotated, Any

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Natural, Patterns
from blockyard.core.spec import Spec, mixer
from blockyard.model.model import Model
from blockyard.transform._attach import meant, put, sublayers
from blockyard.transform._base import Applied, Transform


class Prefix(Transform):
    def __init__(
        self, *, length: Annotated[Count, "keys and values before the tokens"] = 16,
        on: Annotated[Patterns, "patterns of paths of mixers; none: all that have queries by head"] | None = None,
        seed: Annotated[Natural, "of the first numbers of what is attached"] = 0,
    ) -> None:  # fmt: skip
        self.spec = mixer("prefixed", length=length)
        self.words, self.on, self.seed = f"a prefix of {length}", on, seed

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys(self._where(model), self.words)

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        return put(model, self._where(model), self.words, self.seed, len(sublayers(model, "mixer")), "mixers")

    def _where(self, model: Model) -> dict[str, Spec]:
        mixers = sublayers(model, "mixer")
        found = [part for part in mixers if _has_queries(model, part)] if self.on is None else meant(
            mixers, self.on, "prefix", "mixer of a step")  # fmt: skip
        if not found:
            names = ", ".join(dict.fromkeys(part.spec.name for part in mixers)) or "none"
            raise UsageError(f"prefix: no mixer of this model ({names}) has queries by head that it could be read by")
        return {part.path: self.spec for part in found}


def _has_queries(model: Model, part: Any) -> bool:
    """Whether a mixer says its queries, and what its heads have read, and has axes for both."""
    axes = {path.removeprefix(f"{part.path}.") for path in model.axes if path.startswith(f"{part.path}.")}
    known = axes >= {"kv", "group", "head_dim"} or axes >= {"heads", "key_dim", "value_dim"}
    return {"q", "context"} <= set(part.points) and known
