"""What a blend promises, on small models."""

from collections.abc import Iterator
from typing import Any

import torch

from blockyard.blend._base import Blend, merge
from blockyard.core.registry import Entry
from blockyard.core.settings import check_settings
from blockyard.core.spec import Spec
from blockyard.model.claims import Verdict
from blockyard.model.model import Model
from blockyard.model.save import stored
from blockyard.systems import build


def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it."""
    found: Blend = entry.load_named()
    first, second, base = (build("llama", "tiny", seed=seed) for seed in (1, 2, 3))
    how = Spec.of("blend", entry.name, check_settings(entry, settings))
    under = base if found.based else None
    before = [_numbers(each) for each in (first, second, base)]
    drawn = torch.random.get_rng_state()
    mixed = _numbers(merge([first, second], how, under))
    yield Verdict("gives numbers", all(bool(value.isfinite().all()) for value in mixed.values()))
    same = all(_equal(_numbers(each), held) for each, held in zip((first, second, base), before))
    yield Verdict("leaves the models it was given", same)
    yield Verdict("leaves the dice", torch.equal(drawn, torch.random.get_rng_state()))
    yield Verdict("makes the same twice", _equal(mixed, _numbers(merge([first, second], how, under))))
    if found.based:
        yield Verdict("of models that are the base makes it, to the bit", _equal(_numbers(merge([base] * 2, how, base)),
                                                                                 before[2]))  # fmt: skip
    else:
        yield Verdict("of equal models makes them, to the bit", _equal(_numbers(merge([first] * 2, how)), before[0]))


def _numbers(model: Model) -> dict[str, torch.Tensor]:
    return {path: value.detach().clone() for path, value in stored(model).items()}


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[path], b[path]) for path in a)
