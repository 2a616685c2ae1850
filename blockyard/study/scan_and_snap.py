"""How much does attention of one rate concentrate where its decoder learns as fast, ten and a hundred times as fast?

Source   arXiv 2305.16380    Slug  scan-and-snap    Family  in context
Claim    attention moves until the decoder fits, and then stays: the faster the decoder, the more even attention is left
Differs  40 tokens of contexts, rows of 64, and the usual decay of weights; the entropy of attention in place of
         single scores, which the probe `token_frequency` shows; the rate of attention is the same in all arms, since
         a slower one would move less whatever its decoder did
"""

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.report.depths import last
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, below

TASK = "contextual_tokens:classes=8,queries=1,distinct=4,shared=8,length=64"
RATIOS = (1, 10, 100)
DIM = 49  # an id each
ATTENTION = 20  # its rate, in units of the run's


def narrower(race: str, a: str, b: str) -> Prediction:
    """At the last look the attention of a is less widely spread than that of b."""

    def judge(result: Report) -> Finding:
        found = [_entropy(result.arm(arm)) for arm in (a, b)]
        if found[0] is None or found[1] is None:
            return Finding(OPEN, None, 0.0)
        return Finding(HOLDS if found[0] < found[1] else FAILS, found[1] - found[0], 0.0)

    return Prediction(f"{race}: the attention of {a} is less widely spread than that of {b}", race, judge)


def _entropy(arm: ArmReport) -> float | None:
    """The entropy of the one step at the last look, in nats."""
    seen = last(arm)
    return seen[0].entropy[0] if seen and seen[0].entropy else None


def study() -> Study:
    system = f"scan_and_snap:dim={DIM},vocab={DIM}"
    arms = tuple(f"ratio_{ratio}={system},decoder={ATTENTION * ratio},ratio={ratio}" for ratio in RATIOS)
    options = {"params": "4.8k", "tokens": "500k", "batch": 16, "seeds": 2, "tuning": "none"}
    return Study(
        races=(Race("ratios", arms, task=TASK, options=options, smallest="4.8k"),),
        predictions=(
            *(below("ratios", f"ratio_{ratio}", 0.05) for ratio in RATIOS),
            narrower("ratios", "ratio_1", "ratio_10"),
            narrower("ratios", "ratio_10", "ratio_100"),
        ),
    )
