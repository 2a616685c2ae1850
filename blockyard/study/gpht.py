"""Does a forecaster that saw many other series need less of a new one than one that begins with it?

Source   arXiv 2402.16516    Slug  gpht    Family  series
Claim    one model that was trained on many series beats those that were trained on the one alone
Differs  24 made series; a tenth of 2,400 steps of another to tune on; one horizon, a segment; 60k parameters
"""

from blockyard.compare.documents import Report
from blockyard.study._base import Finding, Prediction, Race, Study, better, by_seed

SHAPE = "stages=3,length=192,horizon=24"
FIRST = f"{SHAPE},pretraining=0.9,first_data=series_families,first_series=series"
ARMS = (
    f"tuned=gpht:{FIRST}",
    f"whole=gpht:{FIRST},tune=*",
    f"one=gpht:{FIRST},stages=1",
    f"scratch=gpht:{SHAPE}",
)
MOST = 0.9


def study() -> Study:
    options = {
        "params": "60k", "tokens": "3M", "batch": 32, "seeds": 3, "tuning": "none", "data": ("swelling_waves",),
    }  # fmt: skip
    task = "forecast:horizon=24,length=192,split=0.1:0.1:0.8"
    return Study(
        races=(Race("few", ARMS, task=task, options=options),),
        predictions=(
            better("few", "tuned", "scratch"),
            _ratio("tuned", "scratch"),
            better("few", "tuned", "one"),
            better("few", "whole", "scratch"),
        ),
    )


def _ratio(a: str, b: str) -> Prediction:
    """The error of a is at most 0.9 of that of b, in every seed. The value is the mean share."""

    def judge(result: Report) -> Finding:
        pairs = zip(result.arm(a).score.per_seed, result.arm(b).score.per_seed)
        return by_seed([x / y for x, y in pairs if x is not None and y], lambda share: share <= MOST, MOST)

    return Prediction(f"few: the error of {a} is at most {MOST} of that of {b} in every seed", "few", judge)
