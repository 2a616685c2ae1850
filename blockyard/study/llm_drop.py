"""Can attention be taken out of a trained model where it changes the stream least, and at less cost than MLPs?

Source   arXiv 2406.15786    Slug  llm-drop    Family  depth
Claim    half of the attention of a large model goes almost unnoticed; MLPs cannot go, and not any attention can
Differs  8 layers of 100k parameters on the texts of CPython: tiny models have less to spare than 70B
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, better

RANDOM = ((2, 12), (0, 8), (6, 14))  # attention steps, of 16, drawn before the first run


def arms() -> tuple[str, ...]:
    """The whole model; less 1 and 2 attentions or MLPs, and less two attentions that nobody chose."""
    chosen = [f"{name}{n}=llama:layers=8|drop:steps={n},of={of}" for n in (1, 2) for name, of in KINDS]
    drawn = [f"random{i}=llama:layers=8|cut:steps={places}" for i, places in enumerate(RANDOM)]
    return ("whole=llama:layers=8", *chosen, *drawn)


KINDS = (("attention", "mixer"), ("mlp", "channel"))


def below_the_drawn(race: str, arm: str) -> Prediction:
    """An arm's mean loss is below the mean of all that were drawn at random. The value is what it is below by."""

    def judge(result: Report) -> Finding:
        found = [result.arm(name).score.mean for name in (arm, *(f"random{i}" for i in range(len(RANDOM))))]
        known = [mean for mean in found if mean is not None]
        if len(known) < len(found):
            return Finding(OPEN, None, 0.0)
        gap = sum(known[1:]) / len(RANDOM) - known[0]
        return Finding(HOLDS if gap > 0 else FAILS, gap, 0.0)

    return Prediction(f"{race}: {arm} loses less than the mean of random choices", race, judge)


def study() -> Study:
    options = {"params": "100k", "tokens": "250k", "seeds": 3, "tuning": "none"}
    return Study(
        races=(Race("text", arms(), options=options),),
        predictions=(
            better("text", "attention1", "mlp1"),
            better("text", "attention2", "mlp2"),
            below_the_drawn("text", "attention2"),
        ),
    )
