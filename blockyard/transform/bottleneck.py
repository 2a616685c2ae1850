"""Behind each mixer and each channel a bottleneck with a skip of its own, before the residual rule adds their words.

    z = F(N(x))        y = z + factor (act(z W_1 + b_1) W_2 + b_2)        W_2, b_1, b_2 = 0 at first

The new model says what the old one said, to the bit; `detach` takes off what was attached.

Source   arXiv 1902.00751
Family   adapters
Differs  a ReLU inside and no dropout where nothing else is said; W_2 starts at zero and not near it
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from blockyard.core.batch import Batch
from blockyard.core.settings import ActivationSpec, Count, Dropout, Natural, NormSpec, Number, Patterns
from blockyard.core.spec import Spec, channel
from blockyard.model.model import Model
from blockyard.transform._attach import at_sublayers, put, sublayers
from blockyard.transform._base import Applied, Transform


class Bottleneck(Transform):
    def __init__(
        self, *, inner: Annotated[Count, "channels inside"] = 64,
        factor: Annotated[Number, "what the branch counts; where it is learned, at first"] = 1.0,
        learned: Annotated[bool, "whether that is learned"] = False,
        activation: Annotated[ActivationSpec, "the activation between the two matrices"] = Spec("activation", "relu"),
        norm: Annotated[NormSpec, "the norm of what the branch reads; none: no norm"] | None = None,
        dropout: Dropout = 0.0,
        of: Annotated[Literal["mixer", "channel", "either"], "at which sublayers"] = "either",
        on: Annotated[Patterns, "patterns of paths of those that are meant, with * for any word"] = ("*",),
        seed: Annotated[Natural, "of the first numbers of what is attached"] = 0,
    ) -> None:  # fmt: skip
        branch = channel("bottleneck", inner=inner, activation=activation, norm=norm, dropout=dropout)
        self.settings = dict(branch=branch, factor=factor, learned=learned)
        self.words, self.of, self.on, self.seed = f"a bottleneck of {inner}", of, on, seed

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys(self._where(model), self.words)

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        of = len(sublayers(model, self.of))
        return put(model, self._where(model), self.words, self.seed, of, "sublayers")

    def _where(self, model: Model) -> dict[str, Spec]:
        found = at_sublayers(model, self.of, self.on, "bottleneck")
        return {path: Spec.of(kind, "behind", self.settings) for path, kind in found.items()}
