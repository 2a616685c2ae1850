"""How fast large arms are, for a plan alone: a few rows through few layers, scaled to the whole by what is counted.

    s(r) = o + r f      seconds of a step of r rows through the fewest layers that a recipe has; measured at r and 2 r
    step = o P / P' + R f F / F'

o is what a step takes whatever it is shown (the optimiser), f a row's forward and backward; P and F are parameters and
training operations a token of the whole arm, P' and F' those of what was measured, R rows a step. A depth that does not
say how many layers it has is measured as it is, and so is a model that goes on. Runs are never planned by this: `bench`
measures whole steps for them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from blockyard.compare.documents import Job
from blockyard.compare.run.speed import prepared, step
from blockyard.core import registry
from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.model.count import stages, training_flops

MOST = 3e9  # operations of the smaller step, as far as whole rows allow
ROUNDS, PATIENCE = 5, 0.25  # steps at most, after one that pays for what later ones reuse; and for how many seconds
FIXED = 0.5  # the most of the smaller step that is believed to be there whatever it is shown


@dataclass(frozen=True)
class Whole:
    """What a glance at an arm is scaled up to: training operations a token, and parameters."""

    recipe: str
    flops: float
    params: int


@dataclass(frozen=True)
class GlanceOrder(Document):
    """To a worker: say how fast these are by a small part of each."""

    jobs: list[Job]
    wholes: list[Whole]
    do: str = "glance"


@dataclass(frozen=True)
class GlanceAnswer(Document):
    """From a worker: seconds of a step of every job."""

    steps: list[float]


def glance(jobs: Sequence[Job], wholes: Sequence[Whole]) -> list[float]:
    """Seconds of a step of every job, in their order."""
    return [_glance(job, whole) for job, whole in zip(jobs, wholes)]


def _glance(job: Job, whole: Whole) -> float:
    system = Spec.from_json(job.system)
    system = system if job.init else shallow(system, whole.recipe)  # a model that goes on is of no recipe
    (model, *_) = made = stages(system)
    flops, params = training_flops(system, job.length, made), sum(p.numel() for p in model.parameters())
    rows = max(1, min(job.batch // 2, int(MOST / (flops * job.length))))
    small = replace(job, system=system.to_json())
    less, more = (_seconds(replace(small, batch=each)) for each in (rows, 2 * rows))
    fixed = min(max(0.0, 2 * less - more), FIXED * less)
    return fixed * whole.params / params + job.batch * (less - fixed) / rows * whole.flops / flops


def _seconds(job: Job) -> float:
    """The quickest step but the first."""
    run, found = prepared(job), []
    step(run)
    while not found or (len(found) < ROUNDS and sum(found) < PATIENCE):
        began = time.perf_counter()
        step(run)
        found.append(time.perf_counter() - began)
    return min(found)


def shallow(system: Spec, recipe: str) -> Spec:
    """The system with the fewest layers that its recipe has; as it is where that is not to be said of its depth."""
    depth = system["model"]["depth"]
    granules = registry.find("recipe", recipe).constant("knobs")
    fewest = next(iter(granules.values()), 0)
    if not fewest or (depth.get("layers") or 0) <= fewest:
        return system
    try:
        less = system.but(model=system["model"].but(depth=depth.but(layers=fewest)))
        stages(less)
    except UsageError:  # something else of it names a layer
        return system
    return less
