"""N-BEATS: dense blocks, each of which explains some of what is left of the window and foretells what follows of it.

Source   arXiv 1905.10437    Family  series
Tags     position=none, attention=none, levels=flat, towers=none, serves=forecasting
Claim    plain dense layers with residuals of the data itself forecast as well as methods made for series
Differs  the squared error of scaled columns in place of sMAPE; one network in place of an ensemble of 180
"""

from typing import Annotated

from blockyard.core.settings import Asked, Count, Dim, Horizon, Layers, Variables, Window
from blockyard.core.spec import (
    Spec,
    activation,
    block,
    channel,
    depth,
    head,
    model,
    objective,
    phase,
    residual,
    stem,
    system,
)


def recipe(
    dim: Annotated[Dim, "channels of every layer in a block"] = 512, layers: Annotated[Layers, "blocks"] = 30,
    terms: Annotated[Count, "numbers that a block's curves are made of; none: as many as steps"] | None = None,
    length: Window = 336, horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
    inside: Annotated[Layers, "layers in a block"] = 4,
) -> Spec:  # fmt: skip
    learned = channel("expansion", layers=inside, inner=dim, activation=activation("relu"), terms=terms)
    windows = stem("history_ahead", length=length, horizon=horizon, channels=channels, outputs=outputs)
    return system(
        model(
            dim=length + horizon, stem=windows, blocks=(block("generic", learned),), residual=residual("backcast"),
            depth=depth("stack", layers=layers), head=head("said_ahead"),
        ),
        phase(objective("squared")),
    )  # fmt: skip


sizes = {"tiny": dict(dim=16, layers=2, length=24, horizon=12), "paper": dict(length=480, horizon=96)}
knobs = {"layers": 1, "dim": 8, "terms": 1}
