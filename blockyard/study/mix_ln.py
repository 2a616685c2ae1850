"""Do deep layers matter more, at no loss, where the first quarter of the layers is post-norm?

Source   arXiv 2412.13795    Slug  mix-ln    Family  foundations
Claim    Mix-LN ends lower than pre-norm and post-norm, and its deep layers do more of the work
Differs  12 layers of 200k parameters on the texts of CPython, no warm-up longer than that of the others; four layers
         are taken out one by one; sizes of gradients are left to probe:step_gradients
"""

from blockyard.compare.documents import Report
from blockyard.study._base import FAILS, HOLDS, OPEN, Finding, Prediction, Race, Study, better, level

SHARES = {"post": 1, "mix": 0.25, "pre": 0}
EARLY, DEEP = (4, 7), (9, 11)  # layers, of 12, that are taken out one at a time


def arms() -> tuple[str, ...]:
    """The three placements, and two of them less one layer."""
    found = [f"{name}=mix_ln:layers=12,alpha={share}" for name, share in SHARES.items()]
    for name in ("mix", "pre"):
        cuts = [(layer, f"cut:steps=({2 * layer},{2 * layer + 1})") for layer in (*EARLY, *DEEP)]
        found += [f"{name}_less_{layer}=mix_ln:layers=12,alpha={SHARES[name]}|{cut}" for layer, cut in cuts]
    return tuple(found)


def deeper(race: str, a: str, b: str) -> Prediction:
    """Deep layers are missed more in a than in b. The value is the difference of the share of all that is missed."""

    def share(result: Report, name: str) -> float | None:
        means = [result.arm(arm).score.mean for arm in (name, *(f"{name}_less_{n}" for n in (*EARLY, *DEEP)))]
        known = [mean for mean in means if mean is not None]
        if len(known) < len(means):
            return None
        rises = [mean - known[0] for mean in known[1:]]
        return sum(rises[len(EARLY) :]) / sum(rises) if min(rises) > 0 else None  # a gain by a loss is no share

    def judge(result: Report) -> Finding:
        ours, theirs = share(result, a), share(result, b)
        if ours is None or theirs is None:
            return Finding(OPEN, None, 0.0)
        return Finding(HOLDS if ours > theirs else FAILS, ours - theirs, 0.0)

    return Prediction(
        f"{race}: deep layers have more of what single ones are missed by in {a} than in {b}", race, judge
    )


def study() -> Study:
    options = {"params": "200k", "tokens": "250k", "seeds": 3, "margin": 0.01, "tuning": "none"}
    return Study(
        races=(Race("text", arms(), options=options),),
        predictions=(
            better("text", "mix", "post"),
            level("text", "mix", "pre"),
            deeper("text", "mix", "pre"),
        ),
    )
