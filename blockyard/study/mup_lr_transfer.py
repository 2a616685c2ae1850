"""Is the best rate of a narrow and shallow model that of a wide one and of a deep one?

Source   arXiv 2402.17457    Slug  mup-lr-transfer    Family  foundations
Claim    under muP and 1 / sqrt(depth) the best rate stays where it is; what it costs to keep it is next to nothing
Differs  widths 16 and 64, depths 2 and 8, four rates an octave apart; the other arms' rates fall with the root of the
         width, as all do here, which is a rule of its own. Sharpness is a probe and not raced
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study

NARROW, WIDE, DEEP = "narrow", "wide", "deep"


def arms(dim: int, layers: int) -> tuple[str, ...]:
    """The recipe under its rules from width 16 on, and under none."""
    shape = f"dim={dim},layers={layers}"
    return f"mup=mup:{shape},base=16", f"plain=mup:{shape},base={dim},residual.power=0@adamw"


def stays(arm: str, first: str, other: str, most: int) -> Prediction:
    """The place of an arm's best rate in the grid moves by at most so many octaves from race to race."""

    def judge(*reports: Report) -> Finding:
        here, there = (_best(report, arm) for report in reports)
        if here is None or there is None:
            return Finding(OPEN, None, most)
        moved = abs(here[0] - there[0])
        return Finding(HOLDS if moved <= most else FAILS, moved, most)

    text = f"{first}, {other}: the best rate of {arm} moves by at most {most} octave"
    return Prediction(text, (first, other), judge)


def costs_nothing(arm: str, first: str, other: str, share: float) -> Prediction:
    """At the rate that was best in one race an arm loses at most this share more than at the best in another."""

    def judge(*reports: Report) -> Finding:
        here, there = (_best(report, arm) for report in reports)
        if here is None or there is None:
            return Finding(OPEN, None, share)
        kept = reports[1].arm(arm).trials[here[0]]
        if kept is None:
            return Finding(FAILS, None, share)
        lost = kept / there[1] - 1
        return Finding(HOLDS if lost <= share else FAILS, lost, share)

    text = f"{first}, {other}: {arm} loses at most {share:.0%} in the second at the best rate of the first"
    return Prediction(text, (first, other), judge)


def _best(report: Report, arm: str) -> tuple[int, float] | None:
    """The place and the loss of the best trial; None at an edge of the grid, since a better one may lie beyond."""
    trials = report.arm(arm).trials
    known = [(loss, place) for place, loss in enumerate(trials) if loss is not None]
    if not known or min(known)[1] in (0, len(trials) - 1):
        return None
    return min(known)[1], min(known)[0]


def study() -> Study:
    shapes = {NARROW: (16, 2, "10k"), WIDE: (64, 2, "115k"), DEEP: (16, 8, "29k")}
    races = tuple(
        Race(name, arms(dim, layers), options={"params": params, "tokens": "400k", "seeds": 2})
        for name, (dim, layers, params) in shapes.items()
    )
    predictions = (
        *(stays("mup", NARROW, other, 1) for other in (WIDE, DEEP)),
        *(costs_nothing("mup", NARROW, other, 0.02) for other in (WIDE, DEEP)),
    )
    return Study(races=races, predictions=predictions)
