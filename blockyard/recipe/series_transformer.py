"""A Transformer over the steps of a series: a token a step, the steps that are asked for as empty tokens behind them.

Source   arXiv 2202.07125, 2012.07436    Slug  time-series-survey    Family  series
Tags     position=fixed, attention=full, levels=flat, towers=encoder, serves=forecasting
Claim    few layers are enough, and what helps is to take the trend out between them
Differs  no decoder: the steps ahead stand in the same row, and all tokens see each other
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
    objective,
    phase,
    residual,
    stem,
    system,
)  # fmt: skip


def recipe(
    dim: Dim = 64, layers: Layers = 2, heads: Heads | None = None, ffn: Inner | None = None, length: Window = 96,
    horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
) -> Spec:  # fmt: skip
    attention = mixer("attention", heads=heads or max(1, dim // 8), position=None)
    return system(
        model(
            dim=dim,
            stem=stem("time_points", length=length, horizon=horizon, channels=channels, outputs=outputs),
            blocks=(
                block("layer", attention, channel("mlp", inner=ffn or 2 * dim, activation=activation("gelu_exact"))),
            ),
            residual=residual("prenorm"),
            depth=depth("stack", layers=layers),
            head=head("points_ahead", norm=None),
            linear=linear("dense", bias=True),
            causal=False,
        ),
        phase(objective("squared")),
    )


sizes = {"tiny": dict(dim=8, layers=1, length=12, horizon=4)}
knobs = {"layers": 1, "dim": 8, "ffn": 1}
