"""Does a model that learned functions of a representation hold a learner of linear functions in its upper layers?

Source   arXiv 2310.10616    Slug  icl-representations    Family  in context
Claim    near the best on functions of a fixed network; the upper layers alone, pasted over a fresh linear stem, learn
         linear functions in context of vectors that they never saw
Differs  two numbers, a network of one layer, four layers of which three are pasted and no fresh ones under them, which
         could learn it all themselves; what single layers hold is the probe's to say
"""

from blockyard.compare.documents import Report
from blockyard.study._base import Finding, Prediction, Race, Study, better, by_seed, within

NAME = "icl_representations"
FIRST = "first_task=in_context:family=composed(depth=1)"
PASTES = (
    f"pasted={NAME}:layers=4,{FIRST}",
    f"untrained={NAME}:layers=4,pretraining=0",
    "scratch=llama:layers=3",
)


def excess(race: str, a: str, b: str, most: float) -> Prediction:
    """In every seed what a is above the oracle is at most so many times what b is. The value is the mean ratio."""

    def judge(result: Report) -> Finding:
        bar = result.references["oracle"]
        pairs = zip(*(result.arm(name).score.per_seed for name in (a, b)))
        found = [(one - bar) / (other - bar) for one, other in pairs if one is not None and other is not None]
        return by_seed(found, lambda value: value <= most, most)

    return Prediction(f"{race}: {a} is above the oracle by at most {most:g} times what {b} is", race, judge)


def study() -> Study:
    options = {"params": "30k", "tokens": "450k", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            Race(
                "composed", ("attention=llama:layers=4", "recurrent=gla:layers=4"),
                task="in_context:family=composed(depth=1)", options=options,
            ),
            Race("pasted", PASTES, task="in_context:family=dense", options=options),
        ),
        predictions=(
            within("composed", "attention", "ridge", 0.8),
            within("composed", "attention", "oracle", 1.3),
            excess("pasted", "pasted", "untrained", 0.5),
            better("pasted", "scratch", "untrained"),
        ),
    )  # fmt: skip
