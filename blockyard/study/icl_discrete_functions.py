"""Which Boolean functions does a model learn in context, and does it learn faster where it is taught?

Source   arXiv 2310.03016    Slug  icl-discrete-functions    Family  in context
Claim    near the best on conjunctions, at chance on parities, with attention or nearly as well without; taught by a
         sequence that leaves one conjunction only, a model makes hardly an error behind it
Differs  6 numbers in place of 28, 14 examples, 40k parameters; one attention-free mixer
"""

from blockyard.compare.documents import Report
from blockyard.study._base import Finding, Prediction, Race, Study, above, by_seed, within

ARMS = ("attention=llama:layers=3", "gated=gla:layers=3")
TASK = "boolean:dim=6,points=14"


def ends_below(race: str, arm: str, most: float) -> Prediction:
    """In every seed the error at the last example is below a level."""

    def judge(result: Report) -> Finding:
        found = [each.get("error at the end") for each in result.arm(arm).also]
        return by_seed([error for error in found if error is not None], lambda error: error < most, most)

    return Prediction(f"{race}: the error at the end of {arm} is below {most:g}", race, judge)


def study() -> Study:
    options = {"params": "40k", "tokens": "500k", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(
            Race("conjunction", ARMS, task=TASK, options=options),
            Race("parity", ARMS, task=f"{TASK},function=parity", options=options),
            Race("taught", ARMS, task=f"{TASK},teach=True", options=options),
        ),
        predictions=(
            within("conjunction", "attention", "nearest", 0.9),
            within("conjunction", "gated", "nearest", 0.9),
            within("conjunction", "attention", "oracle", 1.3),
            above("parity", "attention", 0.4),
            above("parity", "gated", 0.4),
            ends_below("taught", "attention", 0.05),
        ),
    )
