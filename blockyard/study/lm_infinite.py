"""Can a trained decoder read four times its length without training, once far tokens are left out or capped?

Source   arXiv 2308.16137    Slug  lm-infinite    Family  foundations
Claim    a plain model fails beyond its length; with a window, a few first tokens and capped distances it does not
Differs  bytes, 64 tokens in training and 256 in use; the mean over a window of text, not by position
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study

TRAINED, LONG = 64, 256
ARMS = ("plain=llama", f"window=llama|lambda_shape:window={TRAINED},sinks=0",
        f"lambda=llama|lambda_shape:window={TRAINED},sinks=4")  # fmt: skip


def rises(race: str, a: tuple[str, int], b: tuple[str, int], least: float) -> Prediction:
    """One score (an arm at a length) is at least so much above another; below 0: at most that much below it."""

    def judge(result: Report) -> Finding:
        low, high = (_score(result, *which) for which in (a, b))
        if low is None or high is None:
            return Finding(OPEN, None, least)
        return Finding(HOLDS if high - low >= least else FAILS, high - low, least)

    said = f"at least {least:g} above" if least >= 0 else f"at most {-least:g} below"
    return Prediction(f"{race}: {b[0]} at length {b[1]} is {said} {a[0]} at {a[1]}", race, judge)


def _score(result: Report, arm: str, length: int) -> float | None:
    """An arm's score at a length, of the first seed that has one."""
    return next((each[str(length)] for each in result.arm(arm).lengths if each and str(length) in each), None)


def study() -> Study:
    options = {"params": "100k", "tokens": "600k", "length": TRAINED, "seeds": 2, "tuning": "none"}
    return Study(
        races=(Race("text", ARMS, options=options),),
        predictions=(
            rises("text", ("plain", TRAINED), ("plain", LONG), 0.2),
            rises("text", ("lambda", LONG), ("lambda", TRAINED), -0.05),
            rises("text", ("lambda", LONG), ("window", LONG), -0.02),
        ),
    )
