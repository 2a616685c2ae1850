"""ViT: an image as a row of patches, read by a Transformer encoder, classified by the mean of its tokens.

Source   arXiv 2010.11929    Family  images
Claim    attention over patches classifies images as well as convolutions do, given enough of them
Differs  the mean of the tokens in place of a class token, as in arXiv 2205.01580: class_patches, class_token have it
"""

from blockyard.core.settings import Channels, Classes, Dim, Heads, Height, Inner, Layers, Patch, Width
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
    norm,
    objective,
    phase,
    residual,
    stem,
    system,
)


def recipe(
    dim: Dim = 256, layers: Layers = 4, heads: Heads | None = None, ffn: Inner | None = None,
    height: Height = 32, width: Width = 32, channels: Channels = 3, patch: Patch = 4, classes: Classes = 10,
) -> Spec:  # fmt: skip
    attention = mixer("attention", heads=heads or max(1, dim // 32), position=None)
    return system(model(
        dim=dim,
        stem=stem("patches", height=height, width=width, channels=channels, patch=patch),
        blocks=(block("layer", attention, channel("mlp", inner=ffn, activation=activation("gelu_exact"))),),
        residual=residual("prenorm", norm=norm("layer", eps=1e-6)),
        depth=depth("stack", layers=layers),
        head=head("classes", classes=classes, norm=norm("layer", eps=1e-6)),
        linear=linear("dense", bias=True),
        causal=False,
    ), phase(objective("classes")))  # fmt: skip


sizes = {
    "tiny": dict(dim=32, layers=2, height=8, width=8, channels=1, patch=2),
    "ti": dict(dim=192, layers=12, heads=3, height=224, width=224, patch=16, classes=1000),
    "s": dict(dim=384, layers=12, heads=6, height=224, width=224, patch=16, classes=1000),
    "b": dict(dim=768, layers=12, heads=12, height=224, width=224, patch=16, classes=1000),
}
expect = {
    "ti": dict(params=(5_717_416, 1e-4)),
    "s": dict(params=(22_050_664, 1e-4)),
    "b": dict(params=(86_567_656, 1e-4)),
}
knobs = {"layers": 1, "dim": 32, "ffn": 1}
