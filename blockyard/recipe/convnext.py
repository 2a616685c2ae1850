"""ConvNeXt: a convolutional network with a Transformer's choices; a wide filter and a channel behind one skip.

Source   arXiv 2201.03545    Slug  convnext    Family  images
Claim    without attention, the same choices around it reach what windows of attention reach
Differs  nothing known
"""

from typing import Annotated

from blockyard.core.settings import Channels, Classes, Count, Dim, Height, Kernel, Layers, Patch, Width
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
    residual,
    stem,
    system,
)
from blockyard.recipe._pyramid import depths, pyramid


def recipe(
    dim: Dim = 96, layers: Layers = 4, stages: Annotated[Count, "grids, each half as fine as the one before"] = 2,
    shallow: Annotated[Count, "blocks of every stage but the deep one; none: a third of that one's"] | None = None,
    *, kernel: Kernel = 7, height: Height = 32, width: Width = 32, channels: Channels = 3, patch: Patch = 4,
    classes: Classes = 10,
    ffn: Annotated[Count, "channels inside the first stage's channels; none: 4 times the width"] | None = None,
) -> Spec:  # fmt: skip
    layer = norm("layer", eps=1e-6)

    def steps(wide: int) -> tuple[Spec, ...]:
        inner = None if ffn is None else ffn * wide // dim
        after = channel("mlp", inner=inner, activation=activation("gelu_exact"))
        return (mixer("before_channel", mixer=mixer("depthwise2d", kernel=kernel), norm=layer, channel=after),)

    def between(wide: int) -> Spec:
        return junction("conv", dim=wide, kernel=2, stride=2, norm=layer)

    blocks, program = pyramid(dim, depths(layers, stages, shallow), steps, between)
    image = dict(height=height, width=width, channels=channels)
    return system(model(
        dim=dim,
        stem=stem("conv_patches", **image, kernel=patch, stride=patch, norm=layer),
        blocks=blocks,
        residual=residual("scaled", norm=norm("none"), start=1e-6),
        depth=program,
        head=head("pooled_classes", classes=classes, norm=layer),
        linear=linear("dense", bias=True),
        causal=False,
    ), phase(objective("classes")))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, height=8, width=8, channels=1, patch=2, kernel=3),
    "t": dict(dim=96, layers=18, height=224, width=224, stages=4, classes=1000),
    "s": dict(dim=96, layers=36, shallow=3, height=224, width=224, stages=4, classes=1000),
    "b": dict(dim=128, layers=36, shallow=3, height=224, width=224, stages=4, classes=1000),
}
expect = {
    "t": dict(params=(28_589_128, 1e-3)),
    "s": dict(params=(50_223_688, 1e-3)),
    "b": dict(params=(88_591_464, 1e-3)),
}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
