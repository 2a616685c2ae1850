"""NLinear: one matrix from a window to the steps ahead, both counted from the window's last value.

Source   arXiv 2205.13504    Slug  ltsf-linear    Family  series
Tags     position=none, attention=none, levels=flat, towers=none, serves=forecasting
Claim    at long horizons one linear map beats the Transformers of its day
Differs  nothing known
"""

from blockyard.core.settings import Asked, Horizon, Variables, Window
from blockyard.core.spec import Spec, depth, head, model, norm, objective, phase, residual, stem, system

START = 3**-0.5  # that of a layer of the framework, as in the published code: a wider one takes long to be unlearned


def recipe(
    length: Window = 336, horizon: Horizon = 96, channels: Variables = 1, outputs: Asked = 1,
) -> Spec:  # fmt: skip
    windows = stem("history", length=length, channels=channels, outputs=outputs, scaling=norm("from_last"))
    return system(
        model(
            dim=length, stem=windows, blocks=(), residual=residual("prenorm"), depth=depth("none"),
            head=head("steps_ahead", horizon=horizon, norm=None, gain=START),
        ),
        phase(objective("squared")),
    )  # fmt: skip


sizes = {"tiny": dict(length=24, horizon=12), "paper": dict(length=336, horizon=96)}
expect = {"paper": dict(params=(32_352, 0.0))}
knobs = {}
