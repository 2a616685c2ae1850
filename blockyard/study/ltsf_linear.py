"""Does one linear map forecast better than a Transformer, and is it the scaling of windows that decides?

Source   arXiv 2205.13504    Slug  ltsf-linear    Family  series
Claim    at long horizons one linear map beats the Transformers of its day
Differs  eight made series of 6,000 steps; the Transformer reads patches, with and without scaled windows
"""

from blockyard.study._base import Race, Study, better


def study() -> Study:
    task, bare = "forecast:horizon=48,length=96", "bare=patchtst:stem.scaling=none"
    options = {"data": ["rhythms"], "params": "20k", "tokens": "600k", "batch": 32, "seeds": 3, "tuning": "none"}
    arms = ("ltsf_linear", "nlinear", "dlinear", "patchtst", bare)
    return Study(
        races=(Race("rhythms", arms, task=task, options=options),),
        predictions=(
            better("rhythms", "ltsf_linear", "bare"),
            better("rhythms", "nlinear", "bare"),
            better("rhythms", "patchtst", "bare"),
        ),
    )
