"""Does an encoder rank next-day returns better if it first learned which stock a window is of?

Source   arXiv 2506.16746    Slug  sspt    Family  series
Claim    pretext tasks that cost no labels make the ranking of returns better on five markets
Differs  a simulated market of forty stocks; 900 steps in all for every arm; only the sign of the gain is predicted
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, above

ROW = 40 * 16  # tokens of a day
STEPS, BATCH = 900, 8
GAIN = 0.01  # of the rank IC


def study() -> Study:
    options = {
        "params": "20k", "tokens": str(STEPS * BATCH * ROW), "batch": BATCH, "seeds": 3, "tuning": "none",
        "data": ("market",),
    }  # fmt: skip
    arms = ("scratch=sspt:pretext=none", "stock=sspt", "mean=sspt:pretext=mean", "all=sspt:pretext=all")
    return Study(
        races=(Race("market", arms, task="rank", options=options, smallest="20k"),),
        predictions=(_gains(), above("market", "scratch", 0.0)),
    )


def _gains() -> Prediction:
    def judge(result: Report) -> Finding:
        pretrained, scratch = (result.arm(name).score.per_seed for name in ("stock", "scratch"))
        gains = [a - b for a, b in zip(pretrained, scratch) if a is not None and b is not None]
        if not gains:
            return Finding(OPEN, None, GAIN)
        mean = sum(gains) / len(gains)
        said = HOLDS if mean >= GAIN and min(gains) > 0 else FAILS if max(gains) < 0 else OPEN
        return Finding(said, mean, GAIN)

    return Prediction(
        f"market: stock adds {GAIN:g} to the rank IC of scratch, something in every seed", "market", judge
    )
