"""Do more facts, even random ones, make a model compose facts that it was taught one by one?

Source   arXiv 2504.20752    Slug  grokking-wild    Family  reasoning
Claim    a model composes two facts where training has enough items that follow for each fact; false facts raise their
         number as well as true ones
Differs  fifty entities, a graph of tokens, fifteen hundred steps: far from the million that grokking takes; of the few
         facts half of what follows is held out, so that an exam asks two hundred items or more, once each, and an error
         is known within 0.07; a shared depth stands beside; facts that training composes nothing from are not judged
"""

from typing import Any

import torch

from blockyard.compare.documents import Report
from blockyard.core import Batch
from blockyard.study._base import (
    Finding,
    Given,
    Prediction,
    Race,
    Study,
    Trial,
    figure,
    figure_below,
    lower_in,
    of_all,
)
from blockyard.study._shown import asked

ARMS = ("own=gpt2:layers=2", "shared=gpt2:layers=2,depth=shared")
COMPOSED = "error at facts composed"
GRAPHS = {  # many and added: as many facts, and as many items for each, whether they were there or are added
    "few": "facts=4,held=0.5",
    "many": "facts=10,held=0.1,ratio=8",
    "added": "facts=4,added=6,held=0.5,ratio=8",
}


def task_of(graph: str) -> str:
    """The task of a race."""
    return f"two_hop:entities=50,{GRAPHS[graph]}"


def trained_on(given: Given) -> dict[str, float]:
    """Of each graph the share of wrong answers to all that training shows, facts and what follows from two."""
    found = dict[str, float]()
    for graph in GRAPHS:
        task: Any = asked(task_of(graph))
        shown = task.everything()
        with torch.no_grad():
            said = given.trained(graph, "own")(Batch(torch.from_numpy(shown.tokens))).logits.argmax(-1).numpy()
        found[graph] = float(((said != shown.targets) & (shown.targets >= 0)).any(1).mean())
    return found


def recovers(arm: str, share: float) -> Prediction:
    """What added facts gain is at least a share of what as many true ones do, in every seed. The value is the mean."""

    def judge(few: Report, many: Report, added: Report) -> Finding:
        errors = [[each.get(COMPOSED) for each in report.arm(arm).also] for report in (few, many, added)]
        gains = [
            (a - c) / (a - b) if a is not None and b is not None and c is not None and a > b else None
            for a, b, c in zip(*errors)
        ]
        return of_all(gains, lambda gain: gain >= share, share)

    text = f"few, many and added: added facts gain {arm} at least {share:g} of what as many true ones do"
    return Prediction(text, ("few", "many", "added"), judge)


def study() -> Study:
    options = {"params": "60k", "tokens": "1.5M", "batch": 256, "seeds": 2, "tuning": "none"}
    return Study(
        races=tuple(Race(graph, ARMS, task=task_of(graph), options=options) for graph in GRAPHS),
        trials=(Trial("trained on", trained_on),),
        predictions=(
            *(figure("trained on", graph, most=0.02) for graph in GRAPHS),
            figure_below("many", "own", COMPOSED, 0.5),
            lower_in("many", "few", "own", 0.25, COMPOSED),
            lower_in("many", "few", "shared", 0.25, COMPOSED),
            recovers("own", 0.5),
        ),
    )
