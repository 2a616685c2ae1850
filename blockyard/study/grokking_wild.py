"""Do more facts, even random ones, make a model compose facts that it was taught one by one?

Source   arXiv 2504.20752    Slug  grokking-wild    Family  reasoning
Claim    a model composes two facts where training has enough items that follow for each fact; false facts raise their
         number as well as true ones
Differs  fifty entities, a graph of tokens, fifteen hundred steps: far from the million that grokking takes; a shared
         depth stands beside; facts that training composes nothing from are reported and not judged
"""

from blockyard.compare.documents import Report
from blockyard.study._base import Finding, Prediction, Race, Study, by_seed, figure_below, lower_in

ARMS = ("own=gpt2:layers=2", "shared=gpt2:layers=2,depth=shared")
COMPOSED = "error at facts composed"
GRAPHS = {"few": "facts=2", "many": "facts=10", "added": "facts=2,added=8"}


def recovers(arm: str, share: float) -> Prediction:
    """What added facts gain is at least a share of what as many true ones do, in every seed. The value is the mean."""

    def judge(few: Report, many: Report, added: Report) -> Finding:
        errors = [[each.get(COMPOSED) for each in report.arm(arm).also] for report in (few, many, added)]
        gains = [
            (a - c) / (a - b) for a, b, c in zip(*errors) if a is not None and b is not None and c is not None and a > b
        ]
        return by_seed(gains, lambda gain: gain >= share, share)

    text = f"few, many and added: added facts gain {arm} at least {share:g} of what as many true ones do"
    return Prediction(text, ("few", "many", "added"), judge)


def study() -> Study:
    options = {"params": "60k", "tokens": "1.5M", "batch": 256, "seeds": 2, "tuning": "none"}
    return Study(
        races=tuple(
            Race(name, ARMS, task=f"two_hop:entities=50,{graph}", options=options) for name, graph in GRAPHS.items()
        ),
        predictions=(
            figure_below("many", "own", COMPOSED, 0.5),
            lower_in("many", "few", "own", 0.25, COMPOSED),
            lower_in("many", "few", "shared", 0.25, COMPOSED),
            recovers("own", 0.5),
        ),
    )
