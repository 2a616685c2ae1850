"""A small encoder of price windows that learns which stock, which sector or which mean it sees before it ranks returns.

Source   arXiv 2506.16746    Slug  sspt    Family  series
Tags     position=learned, attention=full, levels=flat, towers=encoder, serves=forecasting
Claim    pretraining on what is known of every window makes the ranking of next-day returns better
Differs  one falling rate for all phases; learned positions begin small
"""

from typing import Annotated, Literal

from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Dim, Fraction, Heads, Inner, Layers, NonNegative, Window
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
    position,
    residual,
    stem,
    system,
)  # fmt: skip

CODES, GROUPS, MEAN = objective("series_codes"), objective("series_codes", of="group"), objective("window_mean")
BEFORE = {"series": (CODES,), "group": (GROUPS,), "mean": (MEAN,), "all": (CODES, GROUPS, MEAN), None: ()}


def recipe(
    dim: Dim = 32, layers: Layers = 2, heads: Heads | None = None, ffn: Inner | None = None, length: Window = 16,
    features: Annotated[Count, "numbers of a day"] = 5, series: Annotated[Count, "stocks side by side"] = 2, *,
    pretext: Annotated[Literal["series", "group", "mean", "all"], "what is learned before; none: nothing"] | None
    = "series",
    pretraining: Annotated[Fraction, "its share of the steps, below 1"] = 2 / 3,
    freeze: Annotated[Literal["nothing", "embedding", "attention", "everything"], "what stays as it was learned: the "
                      "embedding, attention too, or all but the head"] = "nothing",
    weight: Annotated[NonNegative, "what wrong order counts beside the squared error"] = 1.0,
) -> Spec:  # fmt: skip
    if pretraining == 1:
        raise UsageError("pretraining=1 leaves no step to rank returns; give it a share below 1")
    attention = mixer("attention", heads=heads or max(1, dim // 16), position=None)
    layer = block("layer", attention, channel("mlp", inner=ffn or 4 * dim, activation=activation("relu")))
    before = BEFORE[pretext] if pretraining else ()
    where = position("learned", length=length)
    channels = tuple(f"steps.{2 * i + 1}.*" for i in range(layers))
    trains = {"nothing": ("stem.*", "steps.*"), "embedding": ("steps.*",), "attention": channels, "everything": ()}
    trained = (*trains[freeze], "head.*")
    return system(
        model(
            dim=dim,
            stem=stem("panel", length=length, features=features, series=series, position=where),
            blocks=(layer,),
            residual=residual("prenorm", norm=norm("none")),
            depth=depth("stack", layers=layers),
            head=head("panel_scores", norm=None),
            linear=linear("dense", bias=True),
            causal=False,
        ),
        *(phase(each, share=pretraining / len(before)) for each in before),
        phase(objective("returns", weight=weight), share=1 - pretraining if before else 1, train=trained),
    )  # fmt: skip


sizes = {"tiny": dict(dim=16, layers=1)}
knobs = {"layers": 1, "dim": 16, "ffn": 1}
