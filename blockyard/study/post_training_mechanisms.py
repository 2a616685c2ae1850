"""What does post-training move inside a model: where it keeps facts, how it tells true from false, how it refuses?

Source   arXiv 2504.02904    Slug  post-training-mechanisms    Family  foundations
Claim    facts stay where they were, the direction of truth stays and carries over, that of refusal is a new one, and
         the units that set how sure a model is are the same ones
Differs  200 facts of two words in three layers; post-training teaches to be asked, and to refuse a fifth of the words;
         directions behind the second layer
"""

import copy
from typing import Any

import numpy as np
import torch

from blockyard.core.spec import Spec
from blockyard.model.model import build
from blockyard.probe import direction_probe, entropy_neurons_probe, patch_probe
from blockyard.probe.entropy_neurons import overlap
from blockyard.study._base import Reading, Study, at_least, smaller
from blockyard.systems import spec
from blockyard.train.loop import Settings, train

FIRST, SECOND, OBJECTS = 20, 10, 10  # a fact: two words, and the object that they mean
FLAGGED = 4  # of the first words, that are refused
TELL, IS, ASK, YES, NO, REFUSE = range(FIRST + SECOND + OBJECTS, FIRST + SECOND + OBJECTS + 6)
VOCAB, SEEDS, PLACE = REFUSE + 1, (0, 1), "steps.3.part"


class Rows:
    """Rows of 4 ids: a word of what is wanted, two words, an object. Told facts and claims, or questions."""

    def __init__(self, seed: int, asking: bool) -> None:
        self.seed, self.asking = seed, asking
        self.objects = np.random.default_rng(seed).integers(0, OBJECTS, (FIRST, SECOND)) + FIRST + SECOND

    def next(self, step: int) -> dict[str, np.ndarray]:
        """128 rows of a step."""
        draw = np.random.default_rng([self.seed, self.asking, step])
        first, second = draw.integers(0, FIRST, 128), draw.integers(0, SECOND, 128)
        right, targets = self.objects[first, second], np.full((128, 4), -1)
        said, claims = right.copy(), draw.random(128) < (0 if self.asking else 0.6)
        false = claims & (draw.random(128) < 0.5)
        said[false] = FIRST + SECOND + (right - FIRST - SECOND + draw.integers(1, OBJECTS, 128))[false] % OBJECTS
        word = np.where(claims, IS, ASK if self.asking else TELL)
        targets[:, 2] = np.where(claims, -1, np.where(self.asking & (first < FLAGGED), REFUSE, right))
        targets[:, 3] = np.where(claims, np.where(false, NO, YES), -1)
        return {"tokens": np.stack([word, first, second + FIRST, said], 1), "targets": targets}


def trained(tier: str, seed: int) -> tuple[Any, Any, Rows]:
    """The base, which was told facts, its child, which was asked too, and the rows."""
    system: Spec = spec("llama", "tiny", layers=3, dim=96, heads=4, vocab=VOCAB)
    steps = (1500, 200) if tier == "small" else (4, 2)
    base = build(system, seed)
    train(system, base, Rows(seed, False), Settings(steps[0], 3e-3, seed=seed))
    child = copy.deepcopy(base)
    train(system, child, Rows(seed, True), Settings(steps[1], 1e-3, seed=seed))
    return base.eval(), child.eval(), Rows(seed, True)


def inside(tier: str) -> dict[str, list[float]]:
    """What base and child have in common, for each seed."""
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        for name, value in _compared(*trained(tier, seed)).items():
            found.setdefault(name, []).append(value)
    return found


def _compared(base: Any, child: Any, rows: Rows) -> dict[str, float]:
    first, second = (each.ravel() for each in np.indices((FIRST, SECOND)))
    told = torch.from_numpy(np.stack([np.full_like(first, TELL), first, second + FIRST], 1))
    other = (first + 1 + (second % (FIRST - 1))) % FIRST  # another first word, and mostly another object
    differ = rows.objects[first, second] != rows.objects[other, second]
    under = told.clone()
    under[:, 1] = torch.from_numpy(other)
    answers = torch.from_numpy(np.stack([rows.objects[first, second], rows.objects[other, second]], 1))[differ]
    maps = [patch_probe(model, told[differ], under[differ], answers=answers)["map"] for model in (base, child)]
    true = torch.cat([told, torch.from_numpy(rows.objects[first, second])[:, None]], 1)
    true[:, 0] = IS
    false = true.clone()
    false[:, 3] = FIRST + SECOND + (true[:, 3] - FIRST - SECOND + 1 + torch.arange(len(true)) % (OBJECTS - 1)) % OBJECTS
    truth = _shared(base, child, torch.cat([true, false]), torch.arange(2 * len(true)) < len(true))
    asked = told.clone()
    asked[:, 0] = ASK
    refusal = _shared(base, child, asked, torch.from_numpy(first < FLAGGED))
    units = [entropy_neurons_probe(model, told)["steps.5.part:chosen"] for model in (base, child)]
    right = torch.from_numpy(rows.objects[first, second])
    said = child(asked).logits[:, -1].argmax(-1)
    return {
        "map_correlation": float(np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1]),
        "truth_cosine": truth["cosine"], "refusal_cosine": refusal["cosine"],
        "truth_carried_over": truth["given"] / truth["accuracy"], "truth_accuracy": truth["accuracy"],
        "shared_units": overlap(*units),
        "facts_of_base": float((base(told).logits[:, -1].argmax(-1) == right).double().mean()),
        "facts_of_child": float((said == right)[torch.from_numpy(first >= FLAGGED)].double().mean()),
        "refused": float((said == REFUSE)[torch.from_numpy(first < FLAGGED)].double().mean()),
    }  # fmt: skip


def _shared(base: Any, child: Any, rows: Any, kinds: Any) -> dict[str, float]:
    """What the direction of the base is worth in its child, behind the second layer."""
    found = direction_probe(child, rows, kinds, others=direction_probe(base, rows, kinds))
    return {name: float(found[f"{PLACE}:{name}"]) for name in ("accuracy", "given", "cosine")}


def study() -> Study:
    return Study(
        races=(),
        readings=(Reading("inside", inside),),
        predictions=(
            at_least("inside", "facts_of_base", 0.9),
            at_least("inside", "refused", 0.9),
            at_least("inside", "map_correlation", 0.8),
            at_least("inside", "truth_cosine", 0.6),
            smaller("inside", "refusal_cosine", "truth_cosine"),
            at_least("inside", "truth_carried_over", 0.9),
            at_least("inside", "shared_units", 0.5),
        ),
    )
