"""What every corruption promises, checked on examples of it: ours and everybody else's, by the same code."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.part import Corruption
from blockyard.core.random import uniform

PROMISES = {
    "pure": "the same draws give the same batch, others another one, and what it was given stays as it was",
    "asks": "a target is what stood there",
    "leaves": "what is not asked is shown as it is",
    "spares": "a token that does not count, or whose target is below 0, is never asked",
    "share": "it asks for as many as its share says, at either end of a row as well",
}
ROWS, LENGTH = 600, 64


def promises(made: Corruption) -> Iterator[tuple[str, bool]]:
    """Each promise by name, and whether it holds."""
    given = made.example(ROWS, LENGTH, torch.Generator().manual_seed(0))
    whole, before = given.tokens.clone(), made.cells(given.tokens).clone()
    batch, again, other = _run(made, given, 1), _run(made, given, 1), _run(made, given, 2)
    asked = _asked(batch)
    yield "pure", torch.equal(given.tokens, whole) and _same(batch, again) and not _same(batch, other)
    yield "asks", batch.targets is not None and torch.equal(batch.targets[asked], before[asked])
    yield "leaves", torch.equal(made.cells(batch.tokens)[~asked], before[~asked])
    few = torch.arange(LENGTH).expand(ROWS, LENGTH) % 3 != 0
    spared = [_asked(_run(made, replace(given, valid=few), 1))]
    if not made.numbers:  # what came with vectors is what something else asks
        spared.append(_asked(_run(made, replace(given, targets=torch.where(few, before, -1)), 1)))
    yield "spares", all(bool(each.any()) and not bool((each & ~few).any()) for each in spared)
    share = asked.double().mean(0)
    ends = bool(((share[[0, -1]] - made.share).abs() < 5 * (made.share / ROWS) ** 0.5).all())
    yield "share", ends and abs(share.mean().item() - made.share) < 0.1 * made.share


def _run(made: Corruption, batch: Batch, seed: int) -> Batch:
    return made(batch, lambda name, shape: uniform(("corrupt", seed, name), shape, "cpu"))


def _asked(batch: Batch) -> Tensor:
    assert batch.targets is not None
    return batch.targets.isfinite().all(-1) if batch.targets.is_floating_point() else batch.targets >= 0


def _same(a: Batch, b: Batch) -> bool:
    assert a.targets is not None and b.targets is not None
    return torch.equal(a.tokens, b.tokens) and torch.equal(a.targets.nan_to_num(), b.targets.nan_to_num())
