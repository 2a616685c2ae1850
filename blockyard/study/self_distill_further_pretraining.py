"""Does a student that restarts near its teacher classify better than as much further pretraining?

Source   arXiv 2210.02871    Slug  self-distill-further-pretraining    Family  adapt
Claim    self-distillation beats further pretraining and fine-tuning at once, on few images and equal steps
Differs  pixels of the digits 0 to 4 first, then 100 images of 5 to 9; one falling rate; 60k parameters
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study

NAME = "self_distill_further_pretraining"
FIRST = "first_data=digits,first_task=classify:only=class<5"
ARMS = (
    f"direct={NAME}:further=0,distilling=0,{FIRST}",
    f"once={NAME}:distilling=0,{FIRST}",
    f"twice={NAME}:further=0.4,distilling=0,{FIRST}",
    f"distilled={NAME}:{FIRST}",
    f"held={NAME}:further=0.4,distilling=0,held=0.01,{FIRST}",
)


def no_worse(race: str, a: str, b: str) -> Prediction:
    """The mean score of a is at most that of b, and no seed resolves the contrary. The value is what b is worse by."""

    def judge(result: Report) -> Finding:
        pair = result.pair((a, b))
        first, second = (result.arm(name).score.mean for name in (a, b))
        if first is None or second is None:
            return Finding(OPEN, None, 0.0)
        said = HOLDS if second >= first else FAILS if pair.resolved else OPEN
        return Finding(said, second - first, 0.0)

    return Prediction(f"{race}: {a} is in the mean no worse than {b}", race, judge)


def study() -> Study:
    options = {
        "params": "60k", "tokens": "1.2M", "batch": 50, "seeds": 5, "tuning": "none", "data": ("digits",),
    }  # fmt: skip
    return Study(
        races=(Race("digits", ARMS, task="classify:only=class>4,rows=100", options=options),),
        predictions=(
            no_worse("digits", "distilled", "twice"),
            no_worse("digits", "distilled", "held"),
            no_worse("digits", "distilled", "direct"),
            no_worse("digits", "once", "direct"),
        ),
    )
