"""A ViT that learns pixels before classes twice: the second time it restarts, near to what it became the first time.

Source   arXiv 2210.02871    Slug  self-distill-further-pretraining    Family  adapt
Claim    further pretraining overfits few images; a student that restarts and keeps near to its teacher does not
Differs  one schedule of rates for all phases; no decoder; the mean of the tokens is classified
"""

from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import (
    Channels,
    Classes,
    Dim,
    Fraction,
    Heads,
    Height,
    Inner,
    Layers,
    NonNegative,
    Patch,
    PhaseData,
    PhaseTask,
    Width,
)  # fmt: skip
from blockyard.core.spec import Spec, corrupt, objective, phase
from blockyard.recipe.vit import recipe as vit


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None,
    height: Height = 32, width: Width = 32, channels: Channels = 3, patch: Patch = 4, classes: Classes = 10, *,
    pretraining: Annotated[Fraction, "the share of the steps before what restarts is kept"] = 0.2,
    further: Annotated[Fraction, "the share that makes a teacher of it"] = 0.2,
    distilling: Annotated[Fraction, "the share that restarts and keeps near to the teacher"] = 0.2,
    weight: Annotated[NonNegative, "what the distance to the teacher is multiplied by"] = 1.0,
    held: Annotated[NonNegative, "how strongly the teacher's own numbers are held to where it began"] = 0.0,
    first_data: PhaseData = (), first_task: PhaseTask | None = None,
) -> Spec:  # fmt: skip
    pixels = objective("reconstruct", corrupt=corrupt("patches", patch=patch, channels=channels))
    first = phase(pixels, share=pretraining or 1, data=first_data, task=first_task)
    program = [first] if pretraining else []
    if further:
        pulled = (objective("l2_sp", weight=held),) if held else ()
        program.append(phase(pixels, share=further, also=pulled))
    if distilling and not program:
        raise UsageError("distilling needs a teacher: give pretraining or further a share")
    if distilling:
        near = (objective("distil", weight=weight),)
        program.append(phase(pixels, share=distilling, also=near, restart=len(program) - 1))
    body = vit(dim, layers, heads, ffn, height, width, channels, patch, classes)
    return body.but(program=(*program, body["program"][0].but(share=1 - pretraining - further - distilling)))


sizes = {"tiny": dict(dim=32, layers=2, height=8, width=8, channels=1, patch=2)}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
