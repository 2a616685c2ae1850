"""Does a model say how sure it is as Bayes would, and does it still where examples are not those of its training?

Source   arXiv 2405.15115    Slug  icl-uncertainty    Family  in context
Claim    trained models say nearly the mean and the variance of Bayes; of other pools, and larger weights, they do not
Differs  four numbers, eight pairs; pools of 16 pairs and of as many as there are; no shift of vectors or of length
"""

from blockyard.compare.documents import Report
from blockyard.study._base import Finding, Prediction, Race, Study, by_seed

ARMS = ("attention=llama:layers=3", "recurrent=gla:layers=3")
TASK = "uncertain_regression:dim=4,points=8"


def above_best(race: str, arm: str, most: float) -> Prediction:
    """In every seed an arm says at most so many nats a number more than the oracle."""

    def judge(result: Report) -> Finding:
        gaps = [score - result.references["oracle"] for score in result.arm(arm).score.per_seed if score is not None]
        return by_seed(gaps, lambda gap: gap <= most, most)

    return Prediction(f"{race}: {arm} is at most {most:g} nats a number above the oracle", race, judge)


def apart(first: str, second: str, arm: str, least: float) -> Prediction:
    """In every seed an arm of the first race says at least so many nats a number more than in the second."""

    def judge(one: Report, other: Report) -> Finding:
        pairs = zip(one.arm(arm).score.per_seed, other.arm(arm).score.per_seed)
        gaps = [a - b for a, b in pairs if a is not None and b is not None]
        return by_seed(gaps, lambda gap: gap >= least, least)

    text = f"{first} and {second}: {arm} is at least {least:g} nats a number higher in the first"
    return Prediction(text, (first, second), judge)


def study() -> Study:
    options = {"params": "38k", "tokens": "1.2M", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            Race("any", ARMS, task=TASK, options=options),
            Race("few", ARMS, task=f"{TASK},pool=16,unseen=true", options=options),
            Race("larger", ARMS, task=f"{TASK},larger=3", options=options),
        ),
        predictions=(
            above_best("any", "attention", 0.1),
            apart("few", "any", "attention", 0.5),
            apart("larger", "any", "attention", 0.1),
        ),
    )
