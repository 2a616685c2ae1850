"""PatchTST: an encoder over patches of one variable at a time, with one set of weights for all variables.

Source   arXiv 2211.14730    Family  series
Tags     position=learned, attention=full, levels=flat, towers=encoder, serves=forecasting
Claim    a series is worth 64 words: patches and channel independence make a plain Transformer forecast well
Differs  no dropout; layer norms in place of batch norms; the window's scaling has no gain and bias
"""

from typing import Annotated

from blockyard.core.settings import Asked, Count, Dim, Heads, Horizon, Inner, Layers, Variables, Window
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
    dim: Dim = 128, layers: Layers = 3, heads: Heads | None = None, ffn: Inner | None = None, length: Window = 336,
    horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
    patch: Annotated[Count, "steps of a patch; a window that is shorter is one"] = 16,
    stride: Annotated[Count, "steps from patch to patch"] = 8,
) -> Spec:  # fmt: skip
    windows = stem(
        "series_patches", length=length, channels=channels, outputs=outputs, patch=patch, stride=stride,
        position=position("learned", length=(length - min(patch, length)) // stride + 2),
    )  # fmt: skip
    attention = mixer("attention", heads=heads or max(1, dim // 8), position=None)
    return system(
        model(
            dim=dim,
            stem=windows,
            blocks=(
                block("layer", attention, channel("mlp", inner=ffn or 2 * dim, activation=activation("gelu_exact"))),
            ),
            residual=residual("postnorm"),
            depth=depth("stack", layers=layers),
            head=head("steps_ahead", horizon=horizon, norm=None),
            linear=linear("dense", bias=True),
            causal=False,
        ),
        phase(objective("squared")),
    )


sizes = {
    "tiny": dict(dim=32, layers=2, length=120, horizon=12),
    "etth1": dict(dim=16, heads=4, ffn=128),
    "weather": dict(dim=128, heads=16, ffn=256, channels=21, outputs=21),
}
expect = {"etth1": dict(params=(81_728, 0.0))}
knobs = {"layers": 1, "dim": 16, "ffn": 1}
