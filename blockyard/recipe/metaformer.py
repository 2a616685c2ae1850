"""MetaFormer: the Transformer's skeleton with the plainest of mixers, the mean of a token's neighbours.

Source   arXiv 2111.11418    Slug  metaformer    Family  images
Claim    the skeleton accounts for most of the quality, whatever mixes the tokens inside it
Differs  nothing known
"""

from typing import Annotated

from blockyard.core.settings import Channels, Classes, Count, Dim, Height, Layers, MixerSpec, Patch, Width, Word
from blockyard.core.spec import (
    Spec,
    activation,
    channel,
    head,
    junction,
    linear,
    model,
    norm,
    objective,
    phase,
    residual,
    stem,
    system,
)
from blockyard.recipe._pyramid import depths, pyramid


def recipe(
    dim: Dim = 64, layers: Layers = 4, stages: Annotated[Count, "grids, each half as fine as the one before"] = 2,
    shallow: Annotated[Count, "blocks of every stage but the deep one; none: a third of that one's"] | None = None,
    *, growth: Annotated[Word, "widths of the stages in units of the first, as 1 2 5 8; none: doubling"] | None = None,
    mixer: Annotated[MixerSpec, "what mixes the tokens"] = Spec("mixer", "pool2d"),
    height: Height = 32, width: Width = 32, channels: Channels = 3, patch: Patch = 4, classes: Classes = 10,
    ffn: Annotated[Count, "channels inside the first stage's channels; none: 4 times the width"] | None = None,
) -> Spec:  # fmt: skip
    def steps(wide: int) -> tuple[Spec, ...]:
        inner = None if ffn is None else ffn * wide // dim
        return mixer, channel("mlp", inner=inner, activation=activation("gelu_exact"))

    def between(wide: int) -> Spec:
        return junction("conv", dim=wide, kernel=3, stride=2, padding=1, norm=None)

    blocks, program = pyramid(dim, depths(layers, stages, shallow), steps, between, growth)
    whole = norm("over_row")
    filters = dict(kernel=2 * patch - 1, stride=patch, padding=patch // 2)
    return system(model(
        dim=dim,
        stem=stem("conv_patches", height=height, width=width, channels=channels, norm=None, **filters),
        blocks=blocks,
        residual=residual("scaled", norm=whole, start=1e-5),
        depth=program,
        head=head("classes", classes=classes, norm=whole),
        linear=linear("dense", bias=True),
        causal=False,
    ), phase(objective("classes")))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, height=8, width=8, channels=1, patch=2),
    "s12": dict(dim=64, layers=12, growth="1 2 5 8", height=224, width=224, stages=4, classes=1000),
    "m36": dict(dim=96, layers=36, height=224, width=224, stages=4, classes=1000),
}
expect = {"s12": dict(params=(1.19e7, 0.01)), "m36": dict(params=(5.6e7, 0.01))}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
