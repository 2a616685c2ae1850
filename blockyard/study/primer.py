"""Do squared ReLU and short convolutions in attention save training, together and each for itself?

Source   arXiv 2109.08668    Slug  primer    Family  foundations
Claim    both together end lower than GELU without them, and reach its last loss in at most 0.85 of the steps
Differs  bytes and a hundred thousand parameters; loss in training, not in scores of tasks
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, better

BASE = "gelu=primer:mixer.conv=none,channel.activation=gelu"
ARMS = (BASE, "square=primer:mixer.conv=none", "conv=primer:channel.activation=gelu", "both=primer")


def sooner(race: str, arm: str, other: str, share: float) -> Prediction:
    """An arm reaches the worst of all last losses in at most this share of the tokens that another one needs."""

    def judge(result: Report) -> Finding:
        reached = {each.name: each.tokens for each in result.along.target.arms} if result.along else {}
        if arm not in reached or other not in reached:
            return Finding(OPEN, None, share)
        ratio = reached[arm] / reached[other]
        return Finding(HOLDS if ratio <= share else FAILS, ratio, share)

    return Prediction(f"{race}: {arm} reaches the common loss in {share:g} of the tokens of {other}", race, judge)


def study() -> Study:
    options = {"params": "100k", "tokens": "800k", "seeds": 3, "tuning": "none"}
    return Study(
        races=(Race("text", ARMS, options=options), Race("two", (BASE, "both=primer"), options=options)),
        predictions=(
            better("text", "both", "gelu"),
            better("text", "conv", "gelu"),
            sooner("two", "both", "gelu", 0.85),
        ),
    )
