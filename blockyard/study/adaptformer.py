"""Do small bottlenecks beside a frozen model adapt it better than a new head, and almost as well as training it all?

Source   arXiv 2205.13535    Slug  adaptformer    Family  adapters
Claim    with less than two hundredths of the numbers it adapts as well as training all of them, or better
Differs  1,797 digits of 8 x 8 pixels; both phases read all of them, where the source goes from one set to another: what
         adapts is a model that has not learned enough. The head is the same one, and all ways have one rate
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study

WAYS = ("beside", "behind", "lora", "head", "all")


def arms() -> tuple[str, ...]:
    """What learns with the head once 0.3 of a run is over: bottlenecks of 8 channels, pairs of as many numbers, all."""
    return tuple(f"{way}=adaptformer:then={way},inner=8,whole=0.3" for way in WAYS)


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
    options = {"data": ["digits"], "params": "60k", "tokens": "60k", "batch": 32, "seeds": 5, "tuning": "none"}
    return Study(
        races=(Race("digits", arms(), options=options),),
        predictions=(ahead("digits", "beside", "head", 0.03), ahead("digits", "beside", "all", -0.02)),
    )
