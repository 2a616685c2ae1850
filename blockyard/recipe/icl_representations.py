"""The top of a model that learned functions of a representation, pasted over a fresh stem that alone learns on.

    first the whole on one task of pairs; then the layers below the pasted ones go, the stem is new, and it trains

Source   arXiv 2310.10616    Slug  icl-representations    Family  in context
Claim    low layers compute the representation, the layers above learn linearly in context, of any vectors
Differs  one schedule of rates for both phases; with `under` fresh layers stand under the pasted ones and train too
"""

from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import Channels, Count, Dim, Fraction, Heads, Inner, Layers, Natural, PhaseTask
from blockyard.core.spec import Spec, head, objective, phase, stem, transform
from blockyard.recipe.llama import recipe as llama


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None, *,
    pasted: Annotated[Count, "layers that are pasted: those at the top; none: all but one"] | None = None,
    under: Annotated[Natural, "fresh layers under them, which train"] = 0,
    pretraining: Annotated[Fraction, "the share of the steps before the paste; 0: what is pasted never trained"] = 0.7,
    first_task: PhaseTask | None = None, channels: Channels = 3,
) -> Spec:  # fmt: skip
    pasted = pasted or max(1, layers - 1)
    gone = layers - under - pasted
    if gone < 0:
        raise UsageError(f"pasted={pasted} and under={under} are more layers than the {layers} of the model")
    top = [f"steps.{step}.*" for step in range(2 * under, 2 * (under + pasted))]
    surgery = [transform("cut", steps=tuple(range(2 * gone)))] if gone else []
    surgery.append(transform("paste", keep=(*top, "head.proj.*", "head.norm.*")))
    trains = ("stem.*", *[f"steps.{step}.*" for step in range(2 * under)])
    plain, learns = llama(dim, layers, heads, ffn=ffn), objective("squared")
    body = plain.but(model=plain["model"].but(stem=stem("frames", channels=channels), head=head("values")))
    second = phase(learns, share=1 - pretraining, train=trains, apply=tuple(surgery))
    if not pretraining:
        return body.but(program=(second,))
    return body.but(program=(phase(learns, share=pretraining, task=first_task), second))


sizes = {"tiny": dict(dim=16, layers=2)}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
