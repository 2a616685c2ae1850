"""Does a scale that shrinks with depth train deep stacks without any norm?

Source   arXiv 2510.03470    Slug  residual-expansion    Family  foundations
Claim    unscaled, deep stacks without norms fail; with 1/n or 1/sqrt(n) they train, near to pre-norm
Differs  1,797 digits of 8 x 8 pixels; output projections start at 1/sqrt(n) here, so that the factor of the rule is
         n^(1/2 - p) for a scale of n^-p at the start; a run that fails is an outcome
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study

DEPTHS = (4, 16, 32)
POINTS = 0.1  # of the share of wrong classes


def arms(layers: int) -> tuple[str, ...]:
    """Three scales without a norm anywhere, and pre-norm."""
    powers = {"whole": -0.5, "root": 0.0, "nth": 0.5}
    scaled = [
        f"{name}=vit:dim=16,layers={layers},model.residual=scaled_by,residual.power={power},head.norm=none"
        for name, power in powers.items()
    ]
    return (*scaled, f"pre=vit:dim=16,layers={layers}")


def trains(race: str, arm: str, against: str) -> Prediction:
    """No seed fails, and the mean is within ten points of another arm's. The value is what it is above by."""

    def judge(result: Report) -> Finding:
        ours, theirs = result.arm(arm).score, result.arm(against).score
        if theirs.mean is None:
            return Finding(OPEN, None, POINTS)
        if ours.mean is None or any(score is None for score in ours.per_seed):
            return Finding(FAILS, None, POINTS)
        gap = ours.mean - theirs.mean
        return Finding(HOLDS if gap < POINTS else FAILS, gap, POINTS)

    return Prediction(f"{race}: {arm} trains to within ten points of {against}", race, judge)


def breaks(race: str, arm: str, against: str) -> Prediction:
    """A seed fails, or the mean is ten points or more above another arm's."""
    trained = trains(race, arm, against)

    def judge(result: Report) -> Finding:
        found = trained.judge(result)
        return found._replace(verdict={HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}[found.verdict])

    return Prediction(f"{race}: {arm} fails, or ends ten points above {against}", race, judge)


def study() -> Study:
    options = {"data": ["digits"], "tokens": "200k", "batch": 32, "seeds": 2, "tuning": "none",
               "margin": 0.05}  # fmt: skip
    return Study(
        races=tuple(Race(f"{n} layers", arms(n), options={**options, "params": f"{3 * n + 2}k"}) for n in DEPTHS),
        predictions=(
            breaks("32 layers", "whole", "pre"),
            *(trains(f"{n} layers", arm, "pre") for n in DEPTHS for arm in ("root", "nth")),
        ),
    )  # fmt: skip
