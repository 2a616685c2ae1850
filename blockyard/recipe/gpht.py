"""GPHT: a causal patch decoder of several stages, each of which forecasts what the coarser ones left over.

Source   arXiv 2402.16516    Slug  gpht    Family  series
Tags     position=fixed, attention=full, levels=hierarchical, towers=decoder, serves=forecasting
Claim    trained on many series at once, one such model forecasts others, to any horizon
Differs  sinusoidal positions; no dropout; the window's scaling has no gain and bias
"""

from typing import Annotated

from blockyard.core.settings import (
    Asked,
    Count,
    Dim,
    Fraction,
    Heads,
    Horizon,
    Inner,
    Layers,
    PhaseData,
    Trains,
    Variables,
    Window,
    Word,
)  # fmt: skip
from blockyard.core.spec import (
    Spec,
    activation,
    channel,
    head,
    junction,
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
from blockyard.recipe._stages import staged


def recipe(
    dim: Dim = 128, layers: Layers = 1, heads: Heads | None = None, ffn: Inner | None = None, length: Window = 336,
    horizon: Horizon = 48, channels: Variables = 1, outputs: Asked = 1, *,
    stages: Annotated[Count, "stages of so many layers; each reads steps half as coarse as the one before"] = 4,
    pretraining: Annotated[Fraction, "the share of the steps on other rows first, `first_data`; 1: no others"] = 0.0,
    tune: Annotated[Trains, "what the steps after pretraining train; nothing named: what says segments"] = (),
    first_data: PhaseData = (),
    first_series: Annotated[Word, "the column of that which names the series; none: it is one"] | None = None,
) -> Spec:  # fmt: skip
    """`horizon` is the length of a segment too, of `first_data` as well."""
    at, learned, pools = position("sinusoidal"), objective("next_segment"), [1 << i for i in range(stages)][::-1]
    attention = mixer("attention", heads=heads or max(1, dim // 16), position=None)
    wide = channel("mlp", inner=ffn or 4 * dim, activation=activation("gelu_exact"))
    between = [junction("next_stage", pool=pool, position=at) for pool in pools[1:]]
    blocks, program = staged(layers, (attention, wide), between)
    windows = stem(
        "series_segments", length=length, horizon=horizon, channels=channels, outputs=outputs,
        pool=pools[0], position=at,
    )  # fmt: skip
    task = f"forecast:horizon={horizon},length={length},series={first_series}" if first_data else None
    trains = (tune or ("head.*", *(("steps.*.part.say*",) if stages > 1 else ()))) if pretraining else "*"
    first = (phase(learned, share=pretraining, data=first_data, task=task),) if pretraining else ()
    return system(model(
        dim=dim, stem=windows, blocks=blocks, residual=residual("postnorm"), depth=program,
        head=head("next_segments"), linear=linear("dense", bias=True),
    ), *first, *((phase(learned, share=1 - pretraining, train=trains),) if pretraining < 1 else ()))  # fmt: skip


sizes = {"tiny": dict(dim=32, stages=2, length=48, horizon=12), "base": dict(dim=256, layers=3, ffn=1024)}
knobs = {"layers": 1, "dim": 16, "ffn": 1}
