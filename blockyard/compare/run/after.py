"""What a trained model becomes: the transforms of a job, each shown training data of the same amount.

The data are rows of the train split in an order of their own, the same ones for all transforms of a seed. One that
trains the model goes on with its training: the same objective and optimiser, on rows in a further order.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockyard.compare.documents import Became, Job, Made
from blockyard.compare.plan.after import batches_for, states
from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.spec import Spec, has_own_rows
from blockyard.model.count import count, numbers, stored_bytes
from blockyard.model.model import Model
from blockyard.task import Material
from blockyard.train.loop import Settings, to_batch, train
from blockyard.transform._base import Learn, chain
from blockyard.transform._sweep import copied


def become(model: Model, job: Job, data: Material, learner: Callable[[int], Learn]) -> tuple[Model, Made]:
    """The model after all transforms of a job, and what they say; `learner`: how the one at a place trains."""
    began, steps, step = time.perf_counter(), [], job.batch * job.length
    rows = data.order(job.length, job.batch, fold("shown", job.seed))
    specs = [Spec.from_json(each) for each in job.then]
    for place, (spec, transform) in enumerate(zip(specs, chain(specs))):
        transform.learn = learner(place)
        shown = -(-job.shown // step) if transform.shown else 0
        batches = [to_batch(rows.next(at), job.device) for at in range(shown)]
        done = transform.apply(model, batches)
        model = done.model.eval()
        tokens = sum(int(batch.count) for batch in batches) or batches_for(transform, step) * step
        steps.append(
            Became(spec.name, tokens, dict(done.covered), list(done.left), plain(done.report), transform.trained > 0)
        )
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


@dataclass(frozen=True)
class Learner:
    """How a transform of a job trains a model: as the job did in its last phase, with checkpoints of its own."""

    job: Job
    data: Material
    folder: Path
    place: int

    def __call__(self, model: Model, tokens: int, rate: float) -> Model:
        job, system = self.job, Spec.from_json(self.job.system)
        last = system["program"][-1].but(share=1.0, apply=(), restart=None)
        if has_own_rows(last):
            raise UsageError("what was last trained on rows of its own cannot train on those of the run")
        order = self.data.order(job.length, job.batch, fold("learn", job.seed, self.place))
        settings = Settings(
            steps=-(-tokens // (job.batch * job.length)), lr=job.lr * rate, schedule=job.schedule,
            precision=job.precision, device=job.device, micro=job.micro, save_seconds=job.save_seconds,
            seed=fold("learn", job.seed, system.hash, self.place),
        )  # fmt: skip
        folder = self.folder / f"then{self.place}"
        folder.mkdir(exist_ok=True)
        done = train(system.but(model=model.spec, program=(last,)), copied(model), order, settings, folder)
        if done.status != "finished":
            raise UsageError(done.reason)
        for left in folder.glob("*"):
            left.unlink()
        folder.rmdir()
        return done.model


def plain(value: Any) -> Any:
    """Figures of a report as JSON can hold them."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value
