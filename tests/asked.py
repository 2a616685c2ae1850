"""What a test asks of any model, whatever it reads and says: inputs of its own, and how far predictions are apart."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

import blockyard as by
from blockyard.core.batch import Batch
from blockyard.model.model import Model, Out


def batch(model: Model, rows: int = 2, length: int = 20, seed: int = 0) -> Batch:
    """Random inputs of the kind that its stem reads, the same for the same seed."""
    return model.example(rows, length, torch.Generator().manual_seed(seed))


def piece(whole: Batch, first: int, last: int) -> Batch:
    """Some tokens of every row; what stands beside them comes with the first."""
    return Batch(whole.tokens[:, first:last], more={} if first else whole.more)


def gap(a: Out, b: Out, here: Callable[[Tensor], Tensor] = lambda said: said) -> float:
    """The largest difference of any prediction, or of `here` of it."""
    assert a.prediction.keys() == b.prediction.keys() and a.prediction
    return max(
        float((here(said) - here(b.prediction[name])).detach().abs().max()) for name, said in a.prediction.items()
    )


def equal(a: Out, b: Out) -> bool:
    """Whether all predictions are the same to the bit."""
    same = a.prediction.keys() == b.prediction.keys() and len(a.prediction) > 0
    return same and all(torch.equal(said, b.prediction[name]) for name, said in a.prediction.items())


@cache
def _claims(name: str) -> frozenset[str]:
    with torch.device("meta"):
        made = by.build(name, "tiny")
    kept = {claim for claim, promised in made.claims.items() if promised}
    return frozenset(kept | ({"of_ids"} if made.of_ids else set()))


def promising(*claims: str) -> list[str]:
    """The recipes whose models, as they are built, promise all of this; `of_ids`: they read rows of ids alone."""
    return [name for name in by.recipes() if _claims(name).issuperset(claims)]


def silent(claim: str) -> list[str]:
    """The recipes whose models do not promise it."""
    return [name for name in by.recipes() if claim not in _claims(name)]


@torch.no_grad()
def hold_what_is_written(task, rows=8):
    """Replies that a model wrote itself behind a task's questions are scored as right; each with one token changed is
    wrong."""
    model = by.build("llama", "tiny", vocab=task.vocab).eval()
    asked = task.asks(0, rows)
    prompts = [torch.tensor([*question[question >= 0].tolist(), task.mark]) for question in asked]
    steps = by.generate(model, prompts, task.replying, by.SamplingParams(temperature=0))
    written = np.stack([step.tokens.numpy() for step in steps], 1)
    spoilt, line = written.copy(), np.arange(rows)
    spoilt[line, line % task.replying] = (spoilt[line, line % task.replying] + 1) % task.vocab
    for replies, wrong in ((written, 0), (spoilt, 1)):
        examples = task._laid(asked, replies)
        logits = model(torch.from_numpy(examples.tokens)).logits.numpy()
        assert (task.priced({"logits": logits}, examples)[:, 0] == wrong).all()
