"""TiDE: a window through dense blocks to a vector for each step ahead, which a small net reads, beside one linear map.

Source   arXiv 2304.08424    Family  series
Tags     position=none, attention=none, levels=flat, towers=none, serves=forecasting
Claim    dense layers with a linear map beside them forecast as well as Transformers, and many times as fast
Differs  no covariates and no dropout; one bias in place of two that are added
"""

from typing import Annotated

from blockyard.core.settings import Asked, Count, Dim, Horizon, Inner, Layers, Variables, Window
from blockyard.core.spec import (
    Spec,
    block,
    depth,
    head,
    junction,
    model,
    norm,
    objective,
    phase,
    residual,
    stem,
    system,
)


def recipe(
    dim: Annotated[Dim, "channels between the blocks"] = 256,
    layers: Annotated[Layers, "blocks of the encoder, and as many of the decoder"] = 2, ffn: Inner | None = None,
    length: Window = 336, horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
    each: Annotated[Count, "channels of a step ahead"] = 8,
    decoder: Annotated[Count, "channels inside the net that reads them"] = 64,
) -> Spec:  # fmt: skip
    windows = stem("history", length=length, channels=channels, outputs=outputs, scaling=norm("instance"))
    hidden = block("hidden", junction("dense", dim=dim, inner=ffn or dim))
    last = block("steps", junction("dense", dim=each * horizon, inner=ffn or dim))
    reader = head("step_decoder", horizon=horizon, inner=decoder)
    return system(
        model(
            dim=length, stem=windows, blocks=(hidden, last), residual=residual("prenorm"),
            depth=depth("hybrid", pattern=f"{2 * layers - 1}*hidden + steps"), head=head("plus_linear", head=reader),
        ),
        phase(objective("squared")),
    )  # fmt: skip


sizes = {
    "tiny": dict(dim=16, layers=1, length=24, horizon=12, each=2, decoder=8),
    "etth1": dict(length=720, decoder=128),
}
knobs = {"layers": 1, "dim": 8, "ffn": 1}
