"""Do answers before, in sight of the next one's first token, lead to more of what is right?

Source   arXiv 2410.02284    Slug  in-context-navigation    Family  decode
Claim    tokens near the likeliest one's key are right less often; with the answers so far in sight others are found
Differs  drawn knowledge of 100 subjects, of one token an answer; two layers of 48 channels, which learned from lists
"""

from typing import Any

import numpy as np
import torch

from blockyard.decode.navigate import navigate
from blockyard.probe import key_clusters_probe
from blockyard.study._base import Figures, Reading, Study, at_least
from blockyard.study._trained import asked, by_name, trained

SEEDS = (0, 1)


def found(tier: str) -> Figures:
    """The share of the right answers that six tries find, one kind of trying less another, and the gap of the probe."""
    steps, subjects = (1500, 100) if tier == "small" else (3, 4)
    task: Any = asked("listings", subjects=100)
    every = []
    for seed in SEEDS:
        model = trained("llama:dim=48,layers=2,heads=2", task, steps, seed, batch=64)
        questions = torch.tensor([task.prompt(subject) for subject in range(subjects)])
        right = np.zeros((subjects, task.vocab), bool)
        np.put_along_axis(right, task.known[:subjects], True, 1)
        gap = key_clusters_probe(model, questions, right, clusters=task.families, ranks=10)["gap"]
        top = _recall(task, [_tried(model, task, subject, False) for subject in range(subjects)])
        moved = _recall(task, [_tried(model, task, subject, True) for subject in range(subjects)])
        drawn = _recall(task, _drawn(model, questions, task.count, seed))
        every.append({"over the top": moved - top, "over draws": moved - drawn, "gap": float(gap)})
    return by_name(every)


def _tried(model: Any, task: Any, subject: int, listed: bool) -> list[int]:
    """The first tokens of as many answers as are right, with those before in sight or not."""

    def form(said: Any) -> list[int]:
        return task.prompt(subject, tuple(each[0] for each in said) if listed else ())

    return [each[0] for each in navigate(model, form, task.count, 1)]


@torch.no_grad()
def _drawn(model: Any, questions: torch.Tensor, count: int, seed: int) -> list[list[int]]:
    """As many draws from the one distribution behind every question."""
    chances = model(questions).logits[:, -1].softmax(-1)
    return torch.multinomial(chances, count, True, generator=torch.Generator().manual_seed(seed)).tolist()


def _recall(task: Any, said: list[list[int]]) -> float:
    """The share of the right answers that was said."""
    return float(np.mean([len({*each} & {*right.tolist()}) / task.count for each, right in zip(said, task.known)]))


def study() -> Study:
    return Study(
        races=(),
        readings=(Reading("found", found),),
        predictions=(
            at_least("found", "over the top", 0.1),
            at_least("found", "over draws", 0.1),
            at_least("found", "gap", 0.0),
        ),
    )
