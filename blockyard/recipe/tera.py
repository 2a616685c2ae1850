"""TERA: an encoder of sounds that first restores altered frames; then its features are read, as they are or trained on.

Source   arXiv 2007.06028    Slug  tera    Family  audio
Claim    altering time, frequency and magnitude each adds something to what frozen features tell
Differs  one falling rate for both phases; mel frames; classes are read off the mean of the frames
"""

from typing import Annotated

from blockyard.core.errors import UsageError
from blockyard.core.settings import Classes, Count, Dim, Fraction, Heads, Inner, Layers
from blockyard.core.spec import (
    Spec,
    activation,
    block,
    channel,
    depth,
    head,
    linear,
    mixer,
    model,
    objective,
    phase,
    position,
    residual,
    stem,
    system,
)  # fmt: skip


def recipe(
    dim: Dim = 768, layers: Layers = 3, heads: Heads | None = None, ffn: Inner | None = None, classes: Classes = 10, *,
    mels: Annotated[Count, "numbers of a frame"] = 80,
    pretraining: Annotated[Fraction, "its share of the steps, below 1"] = 0.7,
    frozen: Annotated[bool, "whether only the head learns the classes"] = True,
    time: Annotated[Fraction, "of the frames, how many are altered; 0: none"] = 0.15,
    frequency: Annotated[Fraction, "of the channels, how many are at most; 0: none"] = 0.2,
    magnitude: Annotated[Fraction, "of the sounds, how many get noise"] = 0.15,
) -> Spec:  # fmt: skip
    if pretraining == 1:
        raise UsageError("pretraining=1 leaves no step to learn classes; give it a share below 1")
    attention = mixer("attention", heads=heads or max(1, dim // 16), position=None)
    wide = channel("mlp", inner=ffn or 4 * dim, activation=activation("gelu_exact"))
    restore = objective("altered_frames", mels=mels, time=time, frequency=frequency, magnitude=magnitude)
    before = (phase(restore, share=pretraining),) if pretraining else ()
    return system(
        model(
            dim=dim,
            stem=stem("log_mel", mels=mels, position=position("sinusoidal")),
            blocks=(block("layer", attention, wide),),
            residual=residual("postnorm"),
            depth=depth("stack", layers=layers),
            head=head("classes", classes=classes, norm=None),
            linear=linear("dense", bias=True),
            causal=False,
        ),
        *before,
        phase(objective("classes"), share=1 - pretraining, train="head.*" if frozen else "*"),
    )


sizes = {"tiny": dict(dim=32, layers=1, mels=16), "paper": dict(dim=768, layers=3, heads=12, ffn=3072)}
expect = {"paper": dict(params=(2.13e7, 0.01))}
knobs = {"layers": 1, "dim": 16, "ffn": 1}
