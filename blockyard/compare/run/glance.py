"""How fast large arms are, for a plan alone: a few rows through few layers, scaled to the whole by what is counted.

    s(r) = o + r f      seconds of a step of r rows through the fewest layers that a recipe has; measured at r and 2 r
    step = o P / P' + R f F / F'

o is what a step takes whatever it is shown (the optimiser), f a row's forward and backward; P and F are parameters and
training operations a token of the whole arm, P' and F' those of what was measured, R rows a step. Both are measured in
turns in one run. Where a recipe has no number of layers, each kind of block is there about as often as its share of
FEW, at least once. Blocks that cannot be laid anew are measured as they are, and so is a model that goes on. Runs are
never planned by this: `bench` measures whole steps for them.
"""

import time
from collections import Counter
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
ROUNDS, PATIENCE = 5, 0.25  # turns at most, after steps that pay for what later ones reuse; and for how many seconds
FEW = 3  # blocks, of a depth that has no number of layers
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
    less, more = _seconds(replace(job, system=system.to_json(), batch=rows))
    fixed = min(max(0.0, 2 * less - more), FIXED * less)
    return fixed * whole.params / params + job.batch * (less - fixed) / rows * whole.flops / flops


def _seconds(job: Job) -> tuple[float, float]:
    """The quickest step of a job's rows, and of twice as many."""
    run = prepared(replace(job, batch=2 * job.batch))
    sources = prepared(job).sources, run.sources
    step(run)
    began, found = time.perf_counter(), ([], [])
    while not found[1] or (len(found[1]) < ROUNDS and time.perf_counter() - began < PATIENCE):
        for run.sources, seconds in zip(sources, found):
            started = time.perf_counter()
            step(run)
            seconds.append(time.perf_counter() - started)
    return min(found[0]), min(found[1])


def shallow(system: Spec, recipe: str) -> Spec:
    """The system with the fewest layers that its recipe has, or with few of every kind of block; else as it is."""
    depth = system["model"]["depth"]
    granules = registry.find("recipe", recipe).constant("knobs")
    fewest = next(iter(granules.values()), 0)
    try:
        if (layers := depth.get("layers") or 0) and fewest:
            return system if layers <= fewest else _with(system, depth.but(layers=fewest))
        program = stages(system)[0].depth
        names = [name for name, _ in program.plan()]
        kept = _few(names)
        return system if len(kept) == len(names) else _with(system, program.laid(kept))
    except UsageError:  # something else of it names a layer, or its blocks cannot be laid anew
        return system


def _with(system: Spec, depth: Spec) -> Spec:
    """The system with this program, if it can be built."""
    less = system.but(model=system["model"].but(depth=depth))
    stages(less)
    return less


def _few(names: Sequence[str]) -> tuple[str, ...]:
    """The first of every kind of block in order, about as often as its share of FEW says and at least once."""
    left = {name: max(1, round(FEW * count / len(names))) for name, count in Counter(names).items()}
    kept = []
    for name in names:
        if left[name]:
            left[name] -= 1
            kept.append(name)
    return tuple(kept)
