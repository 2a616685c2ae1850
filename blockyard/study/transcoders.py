"""Does a dictionary in a channel's place cost no more than an autoencoder behind it, at as many features a token?

Source   arXiv 2406.11944    Slug  transcoders    Family  dictionaries
Claim    transcoders are at least on par with autoencoders in sparsity and faithfulness
Differs  100k parameters; 8 features a channel of the stream; fitted to 8k tokens in place of 60M; faithfulness is the
         loss of the whole, read off between the points of four penalties
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch

from blockyard.compare.documents import Report
from blockyard.core import Batch
from blockyard.data import load_text
from blockyard.probe._inside import kept
from blockyard.study._base import Figures, Finding, Given, Prediction, Race, Study, Trial, better, figure, of_all

PENALTIES = (3e-4, 1e-3, 3e-3, 1e-2)
WHERE = "steps.5.part"  # the channel of the third of four layers
READS = {"transcoder": "input", "autoencoder": "output"}
HIDDEN = {"transcoder": f"{WHERE}:hidden", "autoencoder": f"{WHERE}.second:hidden"}
BASE, FIT = "llama:layers=4", "steps=300,rate=0.01"
LENGTH = 128
Points = list[tuple[float, float]]  # features a token, and what the loss rises by


def arms() -> tuple[str, ...]:
    """The whole, four dictionaries in the place of a channel, four behind it, and the model without it."""
    fitted = [
        f"{name}{i}={BASE}|transcode:penalty={penalty},on={WHERE},reads={reads},{FIT}"
        for name, reads in READS.items()
        for i, penalty in enumerate(PENALTIES)
    ]
    return (f"whole={BASE}", *fitted, f"without={BASE}|cut:steps=5")


def features(given: Given) -> dict[str, float]:
    """Of each dictionary how many features a token of the test text has, and of each kind the largest share of features
    that no token of it has."""
    test = torch.from_numpy(load_text().test.tokens[: LENGTH * (64 if given.tier == "small" else 2)].astype("int64"))
    rows, found = Batch(test.view(-1, LENGTH)), dict[str, float]()
    for kind, at in HIDDEN.items():
        for i in range(len(PENALTIES)):
            (z,) = kept(given.trained("text", f"{kind}{i}"), rows, at).values()
            found[f"{kind}{i} l0"] = float((z > 0).double().sum(-1).mean())
            dead = float((z > 0).flatten(0, 1).any(0).logical_not().double().mean())
            found[f"{kind} dead"] = max(dead, found.get(f"{kind} dead", 0.0))
    return found


def read_off(points: Sequence[tuple[float, float]], at: float) -> float | None:
    """The height of a line through points at some place; None outside of them."""
    points = sorted(points)
    for (x, y), (further, height) in pairwise(points):
        if x <= at <= further:
            return y if further == x else y + (height - y) * (at - x) / (further - x)
    return None


def times(one: Points, other: Points) -> float | None:
    """How many times as much the loss rises along one line of points as along another, over all places of points where
    both lines are known; None where they are nowhere, or the other does not rise."""
    places = [x for x, _ in (*one, *other)]
    both = [(read_off(one, x), read_off(other, x)) for x in places]
    known = [(a, b) for a, b in both if a is not None and b is not None]
    rises = sum(b for _, b in known)
    return sum(a for a, _ in known) / rises if rises > 0 else None


def on_par(race: str, trial: str, most: float) -> Prediction:
    """What transcoders raise the loss by is at most so many times what autoencoders do at as many features a token, in
    every seed. The value is the mean of that ratio."""

    def judge(result: Report, figures: Figures) -> Finding:
        scores = {name: result.arm(name).score.per_seed for name in ("whole", *_names())}
        ratios = []
        for i, seen in enumerate(figures):
            known = {name: score for name, each in scores.items() if (score := each[i]) is not None}
            ratios.append(_ratio(known, seen) if len(known) == len(scores) else None)
        return of_all(ratios, lambda ratio: ratio <= most, most)

    words = f"transcoder0 to transcoder3 raise the loss by at most {most:g} times what autoencoders do at equal l0"
    return Prediction(f"{race}: {words}, in every seed", (race, trial), judge)


def _names() -> Iterable[str]:
    return (f"{kind}{i}" for kind in READS for i in range(len(PENALTIES)))


def _ratio(scores: Mapping[str, float], seen: Mapping[str, float | None]) -> float | None:
    """That of one seed, from the scores of its arms and the features of its dictionaries."""
    lines: list[Points] = []
    for kind in READS:
        places = [(seen[f"{kind}{i} l0"], scores[f"{kind}{i}"] - scores["whole"]) for i in range(len(PENALTIES))]
        lines.append([(x, rise) for x, rise in places if x is not None])
    return times(*lines)


def study() -> Study:
    options = {"params": "100k", "tokens": "300k", "seeds": 3, "tuning": "none"}
    return Study(
        races=(Race("text", arms(), options=options),),
        trials=(Trial("features", features),),
        predictions=(
            on_par("text", "features", 1.1),
            figure("features", "transcoder dead", most=0.3),
            *(better("text", f"{kind}1", "without") for kind in ("transcoder", "autoencoder")),
        ),
    )
