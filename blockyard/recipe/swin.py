"""Swin: attention inside small windows of a grid, every second time shifted by half a window, in a pyramid.

Source   arXiv 2103.14030    Slug  swin    Family  images
Claim    windows cost what images cost, linearly, and shifting them lets all of the image be seen
Differs  nothing known
"""

from typing import Annotated

from blockyard.core.settings import Channels, Classes, Count, Dim, HeadDim, Height, Layers, Patch, Width
from blockyard.core.spec import (
    Spec,
    activation,
    channel,
    head,
    junction,
    linear,
    mixer,
    model,
    norm,
    objective,
    phase,
    position,
    residual,
    stem,
    system,
)
from blockyard.recipe._pyramid import depths, pyramid


def recipe(
    dim: Dim = 96, layers: Layers = 4, stages: Annotated[Count, "grids, each half as fine as the one before"] = 2,
    shallow: Annotated[Count, "blocks of every stage but the deep one; none: a third of that one's"] | None = None,
    *, head_dim: HeadDim = 32, window: Annotated[Count, "tokens of a window, down and across"] = 4,
    height: Height = 32, width: Width = 32, channels: Channels = 3, patch: Patch = 4, classes: Classes = 10,
    ffn: Annotated[Count, "channels inside the first stage's channels; none: 4 times the width"] | None = None,
) -> Spec:  # fmt: skip
    def steps(wide: int) -> tuple[Spec, ...]:
        attention = mixer("attention", heads=max(1, wide // head_dim), position=position("relative_grid", size=window))
        inner = None if ffn is None else ffn * wide // dim
        return (
            mixer("windows", size=window, mixer=attention, shift=-(-window // 2)),  # a window less half of one
            channel("mlp", inner=inner, activation=activation("gelu_exact")),
        )

    blocks, program = pyramid(dim, depths(layers, stages, shallow), steps, lambda wide: junction("patch_merge"))
    return system(model(
        dim=dim,
        stem=stem("conv_patches", height=height, width=width, channels=channels, kernel=patch, stride=patch),
        blocks=blocks,
        residual=residual("prenorm", norm=norm("layer")),
        depth=program,
        head=head("classes", classes=classes, norm=norm("layer")),
        linear=linear("dense", bias=True),
        causal=False,
    ), phase(objective("classes")))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, height=8, width=8, channels=1, patch=2, window=2, head_dim=16),
    "t": dict(dim=96, layers=12, height=224, width=224, window=7, stages=4, classes=1000),
    "s": dict(dim=96, layers=24, shallow=2, height=224, width=224, window=7, stages=4, classes=1000),
    "b": dict(dim=128, layers=24, shallow=2, height=224, width=224, window=7, stages=4, classes=1000),
}
expect = {
    "t": dict(params=(28_288_354, 1e-3)),
    "s": dict(params=(49_606_258, 1e-3)),
    "b": dict(params=(87_768_224, 1e-3)),
}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
