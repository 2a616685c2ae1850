"""Do heads that match and tables that look up learn to count, to find the most frequent and to reverse?

Source   arXiv 2306.01128    Slug  transformer-programs    Family  programs
Claim    a Transformer that is forced to be a program comes near an ordinary one on small algorithms
Differs  left to right; few steps, two seeds, of which the better one counts as in the paper; a small llama as ceiling
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study

TASKS = {
    "histogram": "histogram:letters=4,most=4,length=8",
    "most_frequent": "most_frequent:letters=4,length=8",
    "reverse": "reverse:count=4,letters=4,offset=0",
}
PROGRAM = "program=transformer_programs:values=8,layers=2,heads=2,counts=4,tables=2,inner=32"


def best_below(race: str, arm: str, most: float) -> Prediction:
    """The better of the seeds errs on less than this share: both are paid for, one is kept."""

    def judge(result: Report) -> Finding:
        known = [score for score in result.arm(arm).score.per_seed if score is not None]
        if not known:
            return Finding(OPEN, None, most)
        return Finding(HOLDS if min(known) < most else FAILS, min(known), most)

    return Prediction(f"{race}: the best seed of {arm} is below {most:g}", race, judge)


def near_best(race: str, arm: str, other: str, most: float) -> Prediction:
    """The better of the seeds errs by at most so much more than the better one of another arm."""

    def judge(result: Report) -> Finding:
        known = [[score for score in result.arm(name).score.per_seed if score is not None] for name in (arm, other)]
        if not all(known):
            return Finding(OPEN, None, most)
        gap = min(known[0]) - min(known[1])
        return Finding(HOLDS if gap <= most else FAILS, gap, most)

    return Prediction(f"{race}: the best seed of {arm} is at most {most:g} above that of {other}", race, judge)


def study() -> Study:
    options = {"params": "5k", "tokens": "400k", "batch": 64, "seeds": 2, "tuning": "none"}
    arms = (PROGRAM, "ordinary=llama:layers=1,heads=2")
    return Study(
        races=tuple(Race(name, arms, task=task, options=options, smallest="5k") for name, task in TASKS.items()),
        predictions=(
            best_below("histogram", "program", 0.03),
            best_below("most_frequent", "program", 0.2),
            best_below("reverse", "program", 0.1),
            *(near_best(name, "program", "ordinary", 0.1) for name in TASKS),
        ),
    )
