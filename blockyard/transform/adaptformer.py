"""Beside each channel a bottleneck that reads the stream itself, and whose words count a fixed factor.

    y = x + F(N(x)) + factor (act(x W_1 + b_1) W_2 + b_2)        W_2, b_1, b_2 = 0 at first

The new model says what the old one said, to the bit. A phase that trains `attached` and the head leaves the rest as it
is. The branch is no linear map of what the channel reads, so it cannot be merged; `detach` takes it off.

Source   arXiv 2205.13535    Slug  adaptformer
Family   adapters
Differs  beside mixers too, where that is asked
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from blockyard.core.batch import Batch
from blockyard.core.settings import ActivationSpec, Count, Dropout, Natural, NormSpec, Number, Patterns
from blockyard.core.spec import Spec, channel
from blockyard.model.model import Model
from blockyard.transform._attach import at_sublayers, put, sublayers
from blockyard.transform._base import Applied, Transform


class Adaptformer(Transform):
    def __init__(
        self, *, inner: Annotated[Count, "channels inside"] = 64,
        factor: Annotated[Number, "what the branch counts; where it is learned, at first"] = 0.1,
        learned: Annotated[bool, "whether that is learned"] = False,
        activation: Annotated[ActivationSpec, "the activation between the two matrices"] = Spec("activation", "relu"),
        norm: Annotated[NormSpec, "the norm of what the branch reads; none: no norm"] | None = None,
        dropout: Dropout = 0.1,
        of: Annotated[Literal["mixer", "channel", "either"], "at which sublayers"] = "channel",
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
        found = at_sublayers(model, self.of, self.on, "adaptformer")
        return {path: Spec.of(kind, "beside", self.settings) for path, kind in found.items()}
