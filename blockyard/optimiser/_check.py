"""What an optimiser promises, on a small model."""

import copy
from collections.abc import Iterator
from typing import Any

import torch

from blockyard.core.registry import Entry
from blockyard.model.claims import Verdict
from blockyard.model.model import Model
from blockyard.systems import build

STEPS = 20


def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it."""
    make, model = entry.load_named(), build("llama", size="tiny")
    ids = torch.randint(0, model.axes["stem.vocab"].size, (2, 17), generator=torch.Generator().manual_seed(0))
    held = {name: p for name, p in model.named_parameters() if name.startswith("steps.0")}
    given = {name: p for name, p in model.named_parameters() if name not in held}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = make(model, given, **settings)
    losses = [_step(model, optimiser, ids) for _ in range(STEPS)]
    yield Verdict("lowers the loss it is given", losses[-1] < losses[0], f"{losses[0]:.3f} to {losses[-1]:.3f}")
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    yield Verdict("moves what it was given", bool(moved) and moved <= given.keys())
    yield Verdict("leaves the rest as it was", not moved & held.keys())
    other = copy.deepcopy(model)
    again = make(other, {name: dict(other.named_parameters())[name] for name in given}, **settings)
    again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    _step(model, optimiser, ids)
    _step(other, again, ids)
    same = all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))
    yield Verdict("goes on from its state to the bit", same)


def _step(model: Model, optimiser: torch.optim.Optimizer, ids: torch.Tensor) -> float:
    logits = model(ids[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
