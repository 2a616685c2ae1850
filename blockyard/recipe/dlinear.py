"""DLinear: one matrix from a window's trend to the steps ahead, one from the rest; no block, no activation.

Source   arXiv 2205.13504    Slug  ltsf-linear    Family  series
Tags     position=none, attention=none, levels=flat, towers=none, serves=forecasting
Claim    at long horizons one linear map beats the Transformers of its day
Differs  one bias in place of two that are added
"""

from typing import Annotated

from blockyard.core.settings import Asked, Count, Horizon, Variables, Window
from blockyard.core.spec import Spec, depth, head, model, objective, phase, residual, stem, system

START = 1.5**-0.5  # each of both as a layer of the framework: a wider start takes long to be unlearned


def recipe(
    length: Window = 336, horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
    average: Annotated[Count, "steps that the trend is the mean of, an odd number"] = 25,
) -> Spec:  # fmt: skip
    windows = stem("decompose", length=length, channels=channels, outputs=outputs, average=average)
    return system(
        model(
            dim=length, stem=windows, blocks=(), residual=residual("prenorm"), depth=depth("none"),
            head=head("steps_ahead", horizon=horizon, norm=None, gain=START),
        ),
        phase(objective("squared")),
    )  # fmt: skip


sizes = {"tiny": dict(length=24, horizon=12, average=5), "paper": dict(length=336, horizon=96)}
expect = {"paper": dict(params=(64_704, 0.002))}
knobs = {}
