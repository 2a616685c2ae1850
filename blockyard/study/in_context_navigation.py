"""Do answers before, in sight of the next one's first token, lead to more of what is right?

Source   arXiv 2410.02284    Slug  in-context-navigation    Family  decode
Claim    tokens near the likeliest one's key are right less often; with the answers so far in sight others are found
Differs  drawn knowledge of 400 subjects, of one token an answer; two layers of forty thousand parameters, which learned
         from lists for so short that they do not know all: who has nothing left to find tells nothing of a search
"""

from typing import Any

import numpy as np
import torch

from blockyard.decode.navigate import navigate
from blockyard.probe import key_clusters_probe
from blockyard.study._base import Given, Race, Study, Trial, figure
from blockyard.study._shown import asked

LISTS = "listings:subjects=400"
ASKED = 100  # subjects
ARMS = ("attention=llama:layers=2", "recurrent=gla:layers=2")


def found(given: Given) -> dict[str, float]:
    """The figures of both arms."""
    arms = [each.partition("=")[0] for each in ARMS]
    return {f"{arm} {name}": value for arm in arms for name, value in _found(given, arm).items()}


def _found(given: Given, arm: str) -> dict[str, float]:
    """The share of the right answers that six tries find, one kind of trying less another, and the gap of the probe."""
    task: Any = asked(LISTS)
    model, subjects = given.trained("lists", arm), ASKED if given.tier == "small" else 4
    questions = torch.tensor([task.prompt(subject) for subject in range(subjects)])
    right = np.zeros((subjects, task.vocab), bool)
    np.put_along_axis(right, task.known[:subjects], True, 1)
    probed = key_clusters_probe(model, questions, right, clusters=task.families, ranks=10)
    top = _recall(task, [_tried(model, task, subject, False) for subject in range(subjects)])
    moved = _recall(task, [_tried(model, task, subject, True) for subject in range(subjects)])
    drawn = _recall(task, _drawn(model, questions, task.count, given.seed))
    return {
        "over the top": moved - top, "over draws": moved - drawn, "gap": float(probed["gap"]),
        "gap in errors": float(probed["gap"] / probed["error"]), "permuted": float(probed["permuted"]),
    }  # fmt: skip


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
    options = {"params": "40k", "tokens": "300k", "batch": 64, "seeds": 2, "tuning": "none"}
    return Study(
        races=(Race("lists", ARMS, task=LISTS, options=options),),
        trials=(Trial("found", found),),
        predictions=(
            figure("found", "attention over the top", least=0.1),
            figure("found", "attention over draws", least=0.1),
            figure("found", "attention gap in errors", least=2.0),
            figure("found", "recurrent over the top", least=0.1),
        ),
    )
