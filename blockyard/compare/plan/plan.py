"""The plan of a comparison: everything that is decided before the first run."""

import math
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import torch

from blockyard import __version__, systems
from blockyard.compare.documents import WIDTH, Arm, Job, Plan, Same, Speed
from blockyard.compare.identity import NUMERICS, loops
from blockyard.compare.judge.power import default_seeds
from blockyard.compare.judge.tuning import RATES, UNTUNED, check_rates
from blockyard.compare.plan import dataset, onward
from blockyard.compare.plan.after import states, transformed
from blockyard.compare.plan.budget import at_memory, solve
from blockyard.core import numbers, registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.spec import Spec, objectives, write_value
from blockyard.model.count import count, optimiser_bytes, stages, stored_bytes, training_flops
from blockyard.model.model import Model
from blockyard.task import Material
from blockyard.train.device import known_device
from blockyard.train.loop import build_objective
from blockyard.train.precision import choose
from blockyard.train.schedule import schedule

SIDE_BY_SIDE = 256  # narrower models do not use a second thread well
TUNINGS = ("fit", "nested", "none")
BATCH = 16  # rows a step, unless the user or the task says otherwise
SCHEDULE = "cosine"  # of the rate, unless an arm or its optimiser names another
LENGTH = 128  # tokens a row of text, unless the user says otherwise
MOST_NESTED = 49  # seeds that can tune for themselves: their tuning seeds lie between the final ones and the common one


NUMBERS = {
    "params": numbers.PARAMS, "memory": numbers.MEMORY, "tokens": numbers.TOKENS, "flops": numbers.FLOPS,
    "minutes": numbers.MINUTES, "length": numbers.LENGTH, "batch": numbers.BATCH, "margin": numbers.MARGIN,
    "ram": numbers.MEMORY,
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What a user asks `compare` for; the defaults are what the command line prints."""

    targets: tuple[str, ...]
    data: tuple[str, ...] = ()
    task: str | None = None
    params: str | float | None = None
    memory: str | float | None = None
    tokens: str | float | None = None
    flops: str | float | None = None
    minutes: float | None = None
    length: int | None = None
    batch: int | None = None
    device: str | None = None
    precision: str | None = None
    seeds: int | str | None = None
    margin: float = 0.01
    tuning: str = "fit"
    against: str | None = None
    codec: str = "bytes"
    base: int = 0
    overrides: tuple[tuple[str, Any], ...] = ()
    alpha: float = 0.05
    rates: tuple[float, ...] = RATES
    reach: tuple[float, ...] = ()
    sweep: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    within: str | float | None = None
    ram: str | float | None = None
    init: str | None = None
    adapters: tuple[str, ...] = ()
    rate: float | None = None

    @property
    def rows(self) -> int:
        """Rows a step."""
        return self.batch or BATCH

    def __post_init__(self) -> None:
        if isinstance(self.within, str):
            object.__setattr__(self, "within", numbers.WITHIN(self.within, "--within"))
        for name, kind in NUMBERS.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, kind(getattr(self, name), f"--{name}"))


def make_plan(request: Request, told: Callable[[str], None] = print) -> Plan:
    """Match every arm to the budget and fix what all of them share."""
    if not request.targets and request.init is None:
        raise UsageError("nothing to compare; for example: blockyard compare llama gla")
    if request.tuning not in TUNINGS:
        raise unknown("tuning", request.tuning, TUNINGS)
    rates = [float(rate) for rate in request.rates]
    check_rates(rates)
    begin = _begun(request)
    if not all(factor > 0 for factor in request.reach):
        raise UsageError(f"reach= names lengths in units of that of training, each above 0; got {list(request.reach)}")
    if request.tuning == "none" and rates != list(RATES):
        raise UsageError("rates= are tried in tuning, and tuning is none; leave one of them out")
    choice = onward.chosen(begin, request.task, request.data, request.codec)
    material = dataset.named(choice)
    for note in material.notes:
        told(note)
    request = replace(request, batch=request.batch or int(material.usual.get("batch", BATCH)))
    length = _length(request, material.length, None if begin is None else begin.length)
    matched = _matched(request, material.usual)
    if begin is None:
        arms, bases = _arms(request, matched, length, material)
    else:
        arms, bases = [_onward(request, length, material, begin)], []
        matched["params"] = arms[0].params
    looks, against = _looks(request, len(arms)), _against(request, arms)
    same = _same(request, length, arms, rates)
    referred = material.tuned_references("final", 1 if request.tuning == "none" else len(rates))
    for note in referred.notes:  # they are fitted when nothing can be wrong with the request any more
        told(note)
    return Plan(
        arms=arms,
        data=dataset.described(material, choice),
        metric=material.metric,
        matched=matched,
        same=same,
        tuning=request.tuning,
        alpha=request.alpha,
        margin=request.margin,
        looks=looks,
        against=against,
        seeds=[request.base * 100 + i for i in range(looks[-1])],
        tuning_seed=request.base * 100 + 99,
        versions={
            "blockyard": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "torch": str(torch.__version__),
            "numba": loops(),
            "numerics": NUMERICS,
        },
        references={name: values.tolist() for name, values in referred.figures.items()},
        reference_settings=dict(referred.settings),
        also=list(material.also),
        bases=bases,
        reach=[float(factor) for factor in request.reach],
        swept=[setting for setting, _ in request.sweep],
    )


def _one_of(request: Request, names: tuple[str, ...], says: str, default: float) -> tuple[str, float]:
    """The one budget of these that was given, or the default of the first."""
    given = [name for name in names if getattr(request, name) is not None]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} both say {says}; give one")
    name = given[0] if given else names[0]
    return name, getattr(request, name) if given else default


def _matched(request: Request, usual: Mapping[str, float]) -> dict[str, float]:
    """What all arms get the same amount of: a size and a length of training."""
    size = _one_of(request, ("params", "memory"), "how large the models are", usual.get("params", 200e3))
    time = _one_of(request, ("tokens", "flops", "minutes"), "how long to train", usual.get("tokens", 200e3))
    return dict([size, time])


def _length(request: Request, given: int | None, own: int | None = None) -> int:
    """Tokens a row. A task has its own; a model that goes on was made for some."""
    if given is not None and request.length not in (None, given):
        raise UsageError(f"--length {request.length}: the examples of this task have {given} tokens; set it in --task")
    return given or request.length or own or LENGTH


def _looks(request: Request, arms: int) -> list[int]:
    """After how many seeds an arm the verdicts are looked at; more than one look shares the error among them."""
    words = str(default_seeds(arms) if request.seeds is None else request.seeds).split(",")
    looks = [numbers.SEEDS(word, "--seeds") for word in words]
    if any(a >= b for a, b in pairwise(looks)):
        raise UsageError(f"--seeds {request.seeds}: looks must be in rising order, such as 3,6,10")
    if request.tuning == "nested" and looks[-1] > MOST_NESTED:
        raise UsageError(f"--tuning nested has room for {MOST_NESTED} seeds, not {looks[-1]}")
    return looks


def _against(request: Request, arms: list[Arm]) -> str | None:
    """The id of the arm that all others are held against."""
    if request.against is None:
        return None
    ids = {arm.label: arm.id for arm in arms}
    if request.against not in ids:
        raise unknown("arm", request.against, ids)
    return ids[request.against]


def _same(request: Request, length: int, arms: list[Arm], rates: list[float]) -> Same:
    """What all arms share. Narrow models train side by side, a thread each; wide ones one at a time with all cores."""
    widest = max(arm.dim for arm in arms)
    device = known_device(request.device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    narrow = device == "cpu" and widest < SIDE_BY_SIDE
    return Same(
        length=length,
        batch=request.rows,
        schedule=SCHEDULE,
        warmup=0.1,
        weight_decay=0.1,
        clip=1.0,
        optimiser="AdamW(0.9, 0.95)",
        device=device,
        precision=choose(request.precision, device, widest),
        workers=cores if narrow else 1,
        threads=1 if narrow else cores,
        rates=rates if request.init is None else _own_rate(request, arms[0]),
        rate_rule=f"rate * sqrt({WIDTH} / dim)",
    )


def _arms(request: Request, matched: dict[str, float], length: int, material: Material) -> tuple[list[Arm], list[Arm]]:
    """The arms in the order that they were named, and what has to be trained for them beside them."""
    seen: Counter[str] = Counter()
    arms: list[Arm] = []
    needed: dict[str, Arm] = {}
    solved: dict[str, Arm] = {}
    for target in _swept(map(systems.parse_arm, request.targets), request.sweep):
        if target.label in (arm.label for arm in arms):
            name = target.name
            raise UsageError(f"two arms are called {target.label}; give them labels, for example: a={name} b={name}")
        typed = repr((target.name, sorted(target.overrides.items()), target.optimiser, target.schedule))
        if typed not in solved:
            solved[typed] = _arm(request, matched, length, material, target)
        arm = plain = replace(solved[typed], label=target.label)
        if target.then:
            arm = transformed(plain, target.then, length, request.rows)
        ordinal = seen[arm.hash]
        seen[arm.hash] += 1
        plain, arm = (replace(each, ordinal=ordinal, id=f"{each.hash}-{ordinal}") for each in (plain, arm))
        arms.append(replace(arm, base=plain.id) if target.then else arm)
        if target.then:
            needed.setdefault(plain.id, replace(plain, label=target.name))
    known = {arm.id for arm in arms}
    return arms, [arm for id, arm in needed.items() if id not in known]


def _begun(request: Request) -> onward.Begun | None:
    """The model that a request goes on from, and nothing that says otherwise than its folder."""
    if request.init is None:
        if request.adapters or request.rate is not None:
            raise UsageError("adapters and a rate of its own are for a model that goes on: name it")
        return None
    said = {"TARGET": request.targets, "--params": request.params, "--memory": request.memory, "--set":
            request.overrides, "--codec": request.codec != "bytes"}  # fmt: skip
    odd = [name for name, given in said.items() if given]
    if odd:
        raise UsageError(f"kind, size and tokeniser come from {request.init}; leave out {', '.join(odd)}")
    return onward.begun(request.init)


def _onward(request: Request, length: int, material: Material, begin: onward.Begun) -> Arm:
    """The one arm of a run that goes on from a model: all of it learns, or what is attached to it."""
    adapters = [systems.parse_transform(each) for each in request.adapters]
    if adapters:
        onward.outlined(begin, adapters)
    else:
        onward.check_learns(begin)
    arm = _costed(begin.label, "", onward.onward(begin, material, adapters), length, request.rows, material)
    return replace(arm, init=begin.folder, id=f"{arm.hash}-0")


def _own_rate(request: Request, arm: Arm) -> list[float]:
    """The one rate of a run that goes on, at width 64: as asked, else of what is new the usual one, else less."""
    if request.rate is not None:
        return [request.rate / arm.rate_scale]
    return [UNTUNED * (1.0 if request.adapters else onward.GENTLY)]


def labels(request: Request) -> list[str]:
    """The labels of the arms that a request names."""
    return [target.label for target in _swept(map(systems.parse_arm, request.targets), request.sweep)]


def _swept(targets: Iterable[systems.Target], sweep: Sequence[tuple[str, tuple[Any, ...]]]) -> Iterator[systems.Target]:
    """Every target with every combination of the values that are swept over, which its label ends with."""
    settings = [setting for setting, _ in sweep]
    for target in targets:
        for values in product(*(values for _, values in sweep)):
            label = "/".join([target.label, *map(write_value, values)])
            yield target._replace(label=label, overrides=target.overrides | dict(zip(settings, values)))


def _arm(request: Request, matched: dict[str, float], length: int, material: Material, target: systems.Target) -> Arm:
    """An arm as it is trained, alone: its system at the budget, and what that costs."""
    entry = registry.find("recipe", target.name)
    said = dict(request.overrides) | target.overrides
    told = {name: value for name, value in material.ends.settings.items() if value != entry.schema.get(name)}
    overrides = {"length": length, **told} | said
    taken = {k for k in overrides if "." in k or k in entry.schema or k in registry.KINDS}
    overrides = {k: v for k, v in overrides.items() if k in taken or k in target.overrides}

    def fit(system: Spec) -> Spec:
        """With the task's ends and its length, which some parts are as large as."""
        system = dataset.with_own_rows(material.fit(system), material, length, request.codec)
        own = {} if target.optimiser is None else {"optimiser": target.optimiser} | _own_schedule(target)
        return system.but(model=system["model"].but(length=length), **own)

    if "memory" in matched:
        system = at_memory(target.name, matched["memory"], length, request.rows, overrides, fit)
    else:
        system = solve(target.name, matched["params"], overrides, fit)
    said = {key: write_value(value) for key, value in said.items()}
    return replace(_costed(target.label, entry.name, system, length, request.rows, material), overrides=said)


def _costed(label: str, name: str, system: Spec, length: int, rows: int, material: Material) -> Arm:
    """An arm of a system, and what it costs; `name` is its recipe, empty where it goes on from a saved model."""
    made = stages(system)
    _trainable(name, system, made, material)
    asked = (system, length, rows)  # what they are a function of: plans of one process ask again and again
    if asked not in _COSTS:
        _COSTS[asked] = _costs(system, length, rows, made)
    return Arm(
        label=label, name=name or label, system=system.to_json(), hash=system.hash, ordinal=0, id="",
        dim=system["model"]["dim"], **_COSTS[asked],
    )  # fmt: skip


_COSTS: dict[tuple[Spec, int, int], dict[str, Any]] = {}


def _costs(system: Spec, length: int, rows: int, made: list[Model]) -> dict[str, Any]:
    """What an arm tells of its costs; `made` are the outlines of its phases."""
    optimiser = system.get("optimiser")
    costs = count(made[-1], length, rows, optimiser)
    return dict(
        params=costs.params,
        body_params=costs.body_params,
        flops_per_token=costs.flops_per_token,
        training_flops_per_token=training_flops(system, length, made),
        peak_bytes=costs.training_bytes,
        state_bytes=states(made[-1]),
        model_bytes=stored_bytes(made[-1]),
        optimiser_bytes=optimiser_bytes(made[-1], optimiser),
    )


def _own_schedule(target: systems.Target) -> dict[str, str]:
    """The schedule of an arm's system, where it is another than its optimiser has by itself."""
    if target.schedule is None or target.optimiser is None:
        return {}
    schedule(target.schedule)
    usual = registry.find("optimiser", target.optimiser.name).constant("schedule", SCHEDULE)
    return {} if target.schedule == usual else {"schedule": target.schedule}


def _trainable(name: str, system: Spec, made: list[Model], material: Material) -> None:
    """Refuse, before anything is made, an objective or a task that needs what a phase's model does not claim."""
    try:
        for phase, model in zip(system["program"], made):
            for each in objectives(phase):
                build_objective(each, model)
            if material.ends.causal:
                model.require("causal", f"--task {material.name}")
    except UsageError as error:
        if not name:
            raise
        own = systems.spec(name)["program"][-1]["objective"]
        learns = registry.find(own.kind, own.name).constant("learns", "")
        tasks = [e for e in registry.entries("task").values() if learns and e.constant("learns") == learns]
        if learns == material.ends.learns or not tasks:
            raise
        raise UsageError(f"{error}; {name} learns {learns}: --task {tasks[0].name}") from None


def steps_of(plan: Plan, speed: Mapping[str, Speed]) -> dict[str, int]:
    """How many steps every arm trains, by its id; the speeds are asked for only by a budget in minutes."""
    matched, per_step = plan.matched, plan.same.step_tokens
    steps = {}
    for arm in (*plan.arms, *plan.bases):
        if "tokens" in matched:
            amount = matched["tokens"] / per_step
        elif "flops" in matched:
            amount = matched["flops"] / (plan.base(arm).training_flops * per_step)
        else:
            amount = 60 * matched["minutes"] / speed[plan.base(arm).id].step
        steps[arm.id] = math.ceil(amount - 1e-9)
    if min(steps.values()) < 1:
        raise UsageError("the budget does not reach for one step of every arm; raise it, or lower --batch or --length")
    return steps


def make_job(plan: Plan, arm: Arm, role: str, seed: int, rate: float) -> Job:
    """One run of the plan."""
    same, data = plan.same, plan.data
    return Job(
        system=arm.system,
        ordinal=arm.ordinal,
        data=data.hash,
        task=data.task,
        paths=data.paths,
        codec=data.codec,
        steps=plan.steps[arm.id],
        seed=seed,
        role=role,
        lr=rate * arm.rate_scale,
        batch=same.batch,
        length=same.length,
        schedule=same.schedule,
        precision=same.precision,
        threads=same.threads,
        device=same.device,
        micro=None,
        save_seconds=plan.save_seconds,
        lengths=role == "final" and (bool(data.task) or bool(plan.reach) or seed == plan.seeds[0]),
        reach=plan.reach,
        then=[each.transform for each in arm.then],
        shown=max((each.tokens for each in arm.then if not each.trains), default=0),
        words=data.words,
        init=arm.init,
    )


def tuning_seeds(plan: Plan, seeds: list[int]) -> list[int]:
    """The seed that each of these final seeds is tuned with: one for all, or one for each."""
    common = plan.tuning_seed
    return [common - MOST_NESTED + seed % 100 if plan.tuning == "nested" else common for seed in seeds]


def seconds_of(plan: Plan, arm: Arm, role: str) -> float:
    """How long a run should take, from the bench: training, and scoring at about two fifths of its price a token."""
    scored, step = plan.data.scored[role], plan.speed[arm.id].step
    shown = sum(each.tokens for each in arm.then) / plan.same.step_tokens
    return step * ((shown if arm.then else plan.steps[arm.id]) + 0.4 * scored / plan.same.step_tokens) + 0.1


def estimate(plan: Plan) -> float:
    """Seconds that the whole comparison should take, all looks included."""
    seeds = plan.seeds
    trials = 0 if plan.tuning == "none" else len(plan.same.rates) * len(set(tuning_seeds(plan, seeds)))
    total = sum(trials * seconds_of(plan, arm, "tune") for arm in plan.trained)
    total += len(seeds) * sum(seconds_of(plan, arm, "final") for arm in (*plan.arms, *plan.bases))
    return total / plan.same.workers
