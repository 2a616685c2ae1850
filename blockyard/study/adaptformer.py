"""Do small bottlenecks beside a frozen model adapt it better than a new head, and almost as well as training it all?

Source   arXiv 2205.13535    Slug  adaptformer    Family  adapters
Claim    with less than two hundredths of the numbers it adapts as well as training all of them, or better
Differs  digits of 8 x 8 pixels: the turns of 0 to 4 first, then the classes of 5 to 9 from 20 of each. One falling rate
         for all ways
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study

WAYS = ("beside", "behind", "lora", "head", "all")


def arms() -> tuple[str, ...]:
    """What learns with the head after half of a run: bottlenecks of 8 channels, pairs of as many numbers, all."""
    first = "first_data=digits,first_task=classify:only=class<5"
    return tuple(f"{way}=adaptformer:then={way},inner=8,whole=0.5,{first}" for way in WAYS)


def ahead(race: str, a: str, b: str, points: float) -> Prediction:
    """a errs by at least so much less than b in the mean over seeds; of a number below 0: by at most that much more."""

    def judge(result: Report) -> Finding:
        first, second = (result.arm(name).score.mean for name in (a, b))
        if first is None or second is None:
            return Finding(OPEN, None, points)
        return Finding(HOLDS if second - first >= points else FAILS, second - first, points)

    said = f"at least {points:.0%} less than" if points > 0 else f"at most {-points:.0%} more than"
    return Prediction(f"{race}: {a} errs {said} {b}", race, judge)


def study() -> Study:
    options = {"data": ["digits"], "params": "60k", "tokens": "400k", "batch": 32, "seeds": 5, "tuning": "none"}
    return Study(
        races=(Race("digits", arms(), task="classify:only=class>4,rows=100", options=options),),
        predictions=(ahead("digits", "beside", "head", 0.03), ahead("digits", "beside", "all", -0.02)),
    )
