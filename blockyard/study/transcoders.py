"""Does a dictionary in a channel's place cost no more than an autoencoder behind it, at as many features a token?

Source   arXiv 2406.11944    Slug  transcoders    Family  dictionaries
Claim    transcoders are at least on par with autoencoders in sparsity and faithfulness
Differs  100k parameters; 8 features a channel of the stream; fitted to 8k tokens in place of 60M; faithfulness is the
         loss of the whole, read off between the points of four penalties
"""

from collections.abc import Sequence
from itertools import pairwise

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, better

PENALTIES = (3e-4, 1e-3, 3e-3, 1e-2)
WHERE = "steps.5.part"  # the channel of the third of four layers
BASE, FIT = "llama:layers=4", "steps=300,rate=0.01"


def arms() -> tuple[str, ...]:
    """The whole, four dictionaries in the place of a channel, four behind it, and the model without it."""
    fitted = [
        f"{name}{i}={BASE}|transcode:penalty={penalty},on={WHERE},reads={reads},{FIT}"
        for name, reads in (("transcoder", "input"), ("autoencoder", "output"))
        for i, penalty in enumerate(PENALTIES)
    ]
    return (f"whole={BASE}", *fitted, f"without={BASE}|cut:steps=5")


def told(result: Report, kind: str, figure: str) -> list[float]:
    """What the dictionaries of a kind said of their fit, by penalty."""
    made = [result.arm(f"{kind}{i}").made for i in range(len(PENALTIES))]
    return [each.steps[0].report[figure][WHERE] for each in made if each is not None]


def read_off(points: Sequence[tuple[float, float]], at: float) -> float | None:
    """The height of a line through points at some place; None outside of them."""
    points = sorted(points)
    for (x, y), (further, height) in pairwise(points):
        if x <= at <= further:
            return y if further == x else y + (height - y) * (at - x) / (further - x)
    return None


def on_par(race: str, share: float) -> Prediction:
    """What transcoders raise the loss by is at most so many times what autoencoders do at as many features a token,
    the mean over all places where both are known. The value is that ratio."""

    def judge(result: Report) -> Finding:
        whole = result.arm("whole").score.mean
        curves = []
        for kind in ("transcoder", "autoencoder"):
            scores = [result.arm(f"{kind}{i}").score.mean for i in range(len(PENALTIES))]
            features = told(result, kind, "l0")
            if whole is None or len(features) < len(scores) or None in scores:
                return Finding(OPEN, None, share)
            curves.append([(x, score - whole) for x, score in zip(features, scores) if score is not None])
        pairs = [(rise, read_off(curves[1], x)) for x, rise in curves[0]]
        known = [(rise, other) for rise, other in pairs if other is not None and other > 0]
        if not known:
            return Finding(OPEN, None, share)
        found = sum(rise for rise, _ in known) / sum(other for _, other in known)
        return Finding(HOLDS if found <= share else FAILS, found, share)

    words = f"transcoder0 to transcoder3 raise the loss by at most {share:g} times what autoencoders do at equal l0"
    return Prediction(f"{race}: {words}", race, judge)


def alive(race: str, kind: str, most: float) -> Prediction:
    """At no penalty more features than this are dead. The value is the largest share."""

    def judge(result: Report) -> Finding:
        dead = told(result, kind, "dead")
        return Finding((HOLDS if max(dead) <= most else FAILS) if dead else OPEN, max(dead, default=None), most)

    return Prediction(f"{race}: {kind}3 and all others have at most {most:g} of their features dead", race, judge)


def study() -> Study:
    options = {"params": "100k", "tokens": "300k", "seeds": 2, "tuning": "none"}
    return Study(
        races=(Race("text", arms(), options=options),),
        predictions=(
            on_par("text", 1.1),
            alive("text", "transcoder", 0.3),
            *(better("text", f"{kind}1", "without") for kind in ("transcoder", "autoencoder")),
        ),
    )
