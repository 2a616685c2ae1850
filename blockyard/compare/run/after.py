"""What a trained model becomes: the transforms of a job, each shown training data of the same amount.

The data are rows of the train split in an order of their own, the same ones for all transforms of a seed.
"""

import time
from collections.abc import Mapping
from typing import Any

from blockyard.compare.documents import Became, Job, Made
from blockyard.compare.plan.after import states
from blockyard.core.random import fold
from blockyard.core.spec import Spec
from blockyard.model.count import count, numbers, stored_bytes
from blockyard.model.model import Model
from blockyard.task import Material
from blockyard.train.loop import to_batch
from blockyard.transform._base import make_transform


def become(model: Model, job: Job, data: Material) -> tuple[Model, Made]:
    """The model after all transforms of a job, and what they say."""
    began, steps = time.perf_counter(), []
    rows = data.order(job.length, job.batch, fold("shown", job.seed))
    for spec in map(Spec.from_json, job.then):
        transform = make_transform(spec)
        shown = -(-job.shown // (job.batch * job.length)) if transform.shown else 0
        batches = [to_batch(rows.next(step), job.device) for step in range(shown)]
        done = transform.apply(model, batches)
        model = done.model.eval()
        tokens = sum(int(batch.count) for batch in batches)
        steps.append(Became(spec.name, tokens, dict(done.covered), list(done.left), plain(done.report)))
    costs, params = count(model.spec, job.length), numbers(model)
    return model, Made(
        params=params,
        body_params=numbers(model, tables=False),
        model_bytes=stored_bytes(model),
        flops_per_token=costs.flops_per_token,
        state_bytes=states(model.spec),
        seconds=time.perf_counter() - began,
        steps=steps,
    )


def plain(value: Any) -> Any:
    """Figures of a report as JSON can hold them."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value
