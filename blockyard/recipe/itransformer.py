"""iTransformer: an encoder whose tokens are the whole windows of variables, so that attention mixes variables.

Source   arXiv 2310.06625    Slug  itransformer    Family  series
Tags     position=none, attention=full, levels=flat, towers=encoder, serves=forecasting
Claim    inverted, a plain Transformer forecasts many variables better, and the better the longer the window
Differs  no dropout; columns that say what time it is are variables like others
"""

from blockyard.core.settings import Asked, Dim, Heads, Horizon, Inner, Layers, Variables, Window
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
)  # fmt: skip


def recipe(
    dim: Dim = 256, layers: Layers = 2, heads: Heads | None = None, ffn: Inner | None = None, length: Window = 96,
    horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
) -> Spec:  # fmt: skip
    attention = mixer("attention", heads=heads or max(1, min(8, dim // 8)), position=None)
    return system(
        model(
            dim=dim,
            stem=stem("variates", length=length, channels=channels, outputs=outputs),
            blocks=(block("layer", attention, channel("mlp", inner=ffn or dim, activation=activation("gelu_exact"))),),
            residual=residual("postnorm"),
            depth=depth("stack", layers=layers),
            head=head("variates", horizon=horizon, norm=norm("layer")),
            linear=linear("dense", bias=True),
            causal=False,
        ),
        phase(objective("squared")),
    )


sizes = {
    "tiny": dict(dim=32, layers=2, length=24, horizon=12, channels=3, outputs=3),
    "etth1": dict(channels=7, outputs=7),
    "weather": dict(dim=512, layers=3, channels=21, outputs=21),
    "electricity": dict(dim=512, layers=3, channels=321, outputs=321),
    "traffic": dict(dim=512, layers=4, channels=862, outputs=862),
}
expect = {"etth1": dict(params=(841_568, 0.0)), "electricity": dict(params=(4_833_888, 0.0))}
knobs = {"layers": 1, "dim": 16, "ffn": 1}
