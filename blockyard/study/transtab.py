"""Does telling rows of another table by parts of their columns help to classify a few rows of one's own?

Source   arXiv 2205.09328    Slug  transtab    Family  tables
Claim    an encoder pretrained on a related table is better on a small one than the same encoder from scratch
Differs  two made tables of numbers that share four of ten columns; 300 rows of the second are known; equal budgets
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, better

GAIN = 0.01  # of the area under the curve


def study() -> Study:
    options = {
        "params": "60k", "tokens": "300k", "batch": 64, "seeds": 5, "tuning": "none", "data": ("related_tables",),
    }  # fmt: skip
    arms = ("pretrained=transtab", "scratch=transtab:pretraining=0")
    task = "table:target=label,beside=pool,rows=300"
    return Study(
        races=(Race("transfer", arms, task=task, options=options),),
        predictions=(better("transfer", "pretrained", "scratch"), _gains(), _trees()),
    )


def _gains() -> Prediction:
    def judge(result: Report) -> Finding:
        with_it, without = ([said["AUC"] for said in result.arm(name).also] for name in ("pretrained", "scratch"))
        gains = [a - b for a, b in zip(with_it, without) if a is not None and b is not None]
        if not gains:
            return Finding(OPEN, None, GAIN)
        mean = sum(gains) / len(gains)
        said = HOLDS if mean >= GAIN and min(gains) > 0 else FAILS if mean < GAIN and min(gains) < 0 else OPEN
        return Finding(said, mean, GAIN)

    return Prediction(
        f"transfer: pretrained adds {GAIN:g} to the AUC of scratch, and something in every seed", "transfer", judge
    )


def _trees() -> Prediction:
    def judge(result: Report) -> Finding:
        trees = result.references.get("boosted trees")
        scores = [s for name in ("pretrained", "scratch") for s in result.arm(name).score.per_seed if s is not None]
        if trees is None or not scores:
            return Finding(OPEN, None, 0.0)
        return Finding(HOLDS if trees < min(scores) else FAILS, min(scores) - trees, 0.0)

    return Prediction(
        "transfer: boosted trees on the same 300 rows have fewer errors than any run of scratch or pretrained",
        "transfer",
        judge,
    )
