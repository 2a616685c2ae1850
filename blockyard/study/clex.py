"""Does a learned flow of rotary speeds read rows four times as long as those in training, and the short ones as before?

Source   arXiv 2310.16450    Slug  clex    Family  positions
Claim    tuned on short rows it reads rows more than four times as long without loss, and the short ones as before
Differs  a hundred thousand parameters on bytes, rows of 64, tested up to four times as long; one falling rate
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study

SHORT, LONG = 64, 256
REACH = (0.5, 1, 2, 4)


def arms() -> tuple[str, ...]:
    """What positions become after 0.7 of a run: a flow up to 8 times the length, a fourth of themselves, or nothing."""
    ways = ("flow:most=8", "interpolated:most=4", "larger_base:most=8", "same:most=8")
    return tuple(
        f"{way}=clex:then={way},{most},trained={SHORT}" for way, _, most in (each.partition(":") for each in ways)
    )


def at_most(a: str, long: int, b: str, short: int, share: float) -> Prediction:
    """The loss of a at one length is at most so many times that of b at another, in every seed."""

    def judge(result: Report) -> Finding:
        first, second = (
            [(each or {}).get(str(length)) for each in result.arm(arm).lengths]
            for arm, length in ((a, long), (b, short))
        )
        ratios = [x / y for x, y in zip(first, second) if x is not None and y is not None]
        if not ratios:
            return Finding(OPEN, None, share)
        met = [ratio <= share for ratio in ratios]
        whole = all(met) and len(ratios) == len(first)
        return Finding(HOLDS if whole else FAILS if not any(met) else OPEN, sum(ratios) / len(ratios), share)

    return Prediction(f"text: the loss of {a} at {long} is at most {share:g} of that of {b} at {short}", "text", judge)


def study() -> Study:
    budget = {"params": "100k", "tokens": "500k", "length": SHORT, "batch": 16}
    options = {**budget, "seeds": 2, "tuning": "none", "reach": REACH}
    return Study(
        races=(Race("text", arms(), options=options),),
        predictions=(
            at_most("flow", LONG, "flow", SHORT, 1.05),
            at_most("flow", LONG, "same", LONG, 0.9),
            at_most("flow", SHORT, "same", SHORT, 1.02),
        ),
    )
