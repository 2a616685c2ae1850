"""N-BEATS that can be read: a stack whose blocks say the coefficients of a trend, then one whose blocks say a season's.

Source   arXiv 1905.10437    Family  series
Tags     position=none, attention=none, levels=flat, towers=none, serves=forecasting
Claim    split into a trend and a season that one can look at, forecasts are no worse
Differs  both stacks are as wide; places of the window are counted from its beginning, as those of what follows
"""

from typing import Annotated

from blockyard.core.settings import Asked, Count, Dim, Horizon, Layers, Natural, Variables, Window
from blockyard.core.spec import (
    Spec,
    activation,
    block,
    channel,
    depth,
    head,
    linear,
    model,
    objective,
    phase,
    residual,
    stem,
    system,
)  # fmt: skip


def recipe(
    dim: Annotated[Dim, "channels of every layer in a block"] = 256,
    layers: Annotated[Layers, "blocks of a stack, which share their weights"] = 3,
    length: Window = 336, horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
    degree: Annotated[Natural, "the degree of the trend"] = 2,
    waves: Annotated[Count, "cosines and sines of a season; none: as many as there are steps"] | None = None,
    inside: Annotated[Layers, "layers in a block"] = 4,
) -> Spec:  # fmt: skip
    net = dict(layers=inside, inner=dim, activation=activation("relu"))
    trend = channel("expansion", basis=linear("polynomial"), terms=degree + 1, **net)
    season = channel("expansion", basis=linear("fourier"), terms=waves, **net)
    windows = stem("history_ahead", length=length, horizon=horizon, channels=channels, outputs=outputs)
    return system(
        model(
            dim=length + horizon,
            stem=windows,
            blocks=(block("trend", trend), block("season", season)),
            residual=residual("backcast"),
            depth=depth("looped", loops=layers),
            head=head("said_ahead"),
        ),
        phase(objective("squared")),
    )


sizes = {"tiny": dict(dim=16, layers=2, length=12, horizon=6), "paper": dict(length=480, horizon=96)}
knobs = {}
