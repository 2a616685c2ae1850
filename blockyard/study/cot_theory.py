"""Does writing the lines of a calculation give a shallow model what more depth does not?

Source   arXiv 2305.15408    Slug  cot-theory    Family  derivations
Claim    models of bounded depth cannot say the value of an expression at once; with its derivation a constant size does
Differs  three operations modulo 7, two layers of sixty thousand parameters against four, an equal budget of tokens; a
         derivation with an error in it counts as wrong whatever follows
"""

from blockyard.compare.documents import Report
from blockyard.study._base import Finding, Prediction, Race, Study, below, by_seed, lower_in

SHALLOW = ("attention=llama:layers=2", "recurrent=gla:layers=2")


def depth_gains_less(share: float) -> Prediction:
    """What twice the depth gains at once is less than a share of what a derivation does, in every seed. The value is
    the mean of both gains' ratio."""

    def judge(direct: Report, chain: Report) -> Finding:
        scores = (direct.arm("attention"), direct.arm("deep"), chain.arm("attention"))
        gains = [
            (a - b) / (a - c)
            for a, b, c in zip(*(each.score.per_seed for each in scores))
            if a is not None and b is not None and c is not None and a > c
        ]
        return by_seed(gains, lambda ratio: ratio <= share, share)

    text = f"direct and chain: twice the layers gain attention at most {share:g} times what a derivation does"
    return Prediction(text, ("direct", "chain"), judge)


def study() -> Study:
    options = {"params": "60k", "tokens": "1.2M", "batch": 64, "seeds": 2, "tuning": "none"}
    deep = "deep=llama:layers=4"
    return Study(
        races=(
            Race("direct", (*SHALLOW, deep), task="cot_arithmetic:operators=3", options=options),
            Race("chain", SHALLOW, task="cot_arithmetic:operators=3,trace=yes", options=options),
        ),
        predictions=(
            below("chain", "attention", 0.4),
            lower_in("chain", "direct", "attention", 0.25),
            lower_in("chain", "direct", "recurrent", 0.0),
            depth_gains_less(0.5),
        ),
    )
