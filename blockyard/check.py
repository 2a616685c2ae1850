"""`blockyard check`: hold anything that has a name to what it claims.

check("gla")                    a recipe: its whole model, then every part in it with its settings there
check("mixer:gla:heads=4")      a part alone, or inside a small model where it needs one
check("task:mqar:pairs=8")      a task: its examples, answers and rules
check("study:deltanet")         a study: its races can be run, and its predictions are about them
check("mup:llama")              whether rates carry over from a narrow to a wide model: the coordinate check
check("transform:quantise")     a transform, probe, optimiser, decoder: what all of its kind promise, on a small model
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch

from blockyard import systems
from blockyard.catalogue.index import parts_of
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.part import Corruption
from blockyard.core.spec import Spec
from blockyard.decode.program import refusal
from blockyard.model import corruption
from blockyard.model.claims import Verdict, find_around, verify_model, verify_part
from blockyard.model.count import stages
from blockyard.model.model import Model, build, make
from blockyard.task import DataTask, make_task
from blockyard.task._check import PROMISES, promises
from blockyard.train.coordinates import Coordinates, coordinates
from blockyard.train.loop import build_objective

ALONE = ("mixer", "channel", "norm", "position", "activation")


def check(target: str) -> list[tuple[str, Verdict]]:
    """The verdicts on a target with what each is about: NAME, KIND:NAME, and with settings either:key=value,..."""
    kind, _, rest = target.partition(":")
    if kind == "task":
        task = make_task(rest)
        if isinstance(task, DataTask):
            raise UsageError(
                f"task:{task.name} is asked of data ({', '.join(task.of)}): there is no rule to check it by"
            )
        return [(f"task:{task.name}", Verdict(f"{name}: {PROMISES[name]}", bool(ok))) for name, ok in promises(task)]
    name, _, tail = rest.partition(":")
    if kind == "mup":
        return list(widths(rest)[1])
    if kind == "study":
        return list(_study(registry.find("study", name)))
    if kind in registry.ROOMS and kind != "recipe":  # each of these rooms says what everything in it promises
        entry, settings = registry.find(kind, name), systems.parse_target(f"x:{tail}")[2]
        try:
            promised = import_module(f"blockyard.{kind}._check").promises(entry, settings)
        except ModuleNotFoundError:  # a kind whose entries all come from elsewhere
            raise UsageError(f"nothing is promised of every {kind} yet, so there is nothing to check") from None
        return [(f"{kind}:{entry.name}", verdict) for verdict in promised]
    if kind in registry.KINDS:
        settings = systems.parse_target(f"x:{tail}")[2]
        return list(_part(kind, registry.find(kind, name).name, settings))
    _, name, overrides = systems.parse_target(f"{name}:{tail}" if kind == "recipe" else target)
    system = systems.spec(name, "tiny", **overrides)
    return [*_whole(name, system), *_inside(registry.find("recipe", name), system)]


def widths(target: str) -> tuple[Coordinates, Iterator[tuple[str, Verdict]]]:
    """The coordinate check of a recipe, perhaps with an optimiser: `llama`, `llama:heads=2@mup:base=32`."""
    arm = systems.parse_arm(target)

    def wide(width: int) -> Spec:
        return systems.spec(arm.name, "tiny", **({"dim": width} | arm.overrides))

    found = coordinates(wide, optimiser=arm.optimiser)
    apart = " to ".join(map(str, (found.widths[0], found.widths[-1])))
    verdicts = (
        (f"mup:{arm.label}", Verdict(_carries(place, apart), found.carries(place), f"as its power {slope:+.3f}"))
        for place, slope in found.slopes.items()
    )
    return found, verdicts


def _carries(place: str, widths: str) -> str:
    return f"{place} moves {'no further' if place == 'out' else 'as far'} at widths {widths}"


def _part(kind: str, name: str, settings: dict[str, Any]) -> Iterator[tuple[str, Verdict]]:
    label = f"{kind}:{name}"
    if kind == "corrupt":
        made = make(label, dim=8, **settings)
        assert isinstance(made, Corruption)
        for promise, ok in corruption.promises(made):
            yield label, Verdict(f"{promise}: {corruption.PROMISES[promise]}", ok)
        return
    if kind == "objective":
        yield label, _trains(_home(label, Spec.of(kind, name, settings)), Spec.of(kind, name, settings))
        return
    yield from ((label, verdict) for verdict in verify_part(label, **settings))


def _inside(recipe: registry.Entry, system: Spec) -> Iterator[tuple[str, Verdict]]:
    """Every part that can be checked alone; those that stand in slots by default with their own defaults."""
    specs = dict.fromkeys(spec for spec in system.walk() if spec.kind in ALONE)
    met = {f"{spec.kind}:{spec.name}" for spec in specs}
    more = [name.split(":") for name in parts_of(recipe) if name.split(":")[0] in ALONE and name not in met]
    for spec in [*specs, *(Spec.of(kind, name, {}) for kind, name in more)]:
        yield from _part(spec.kind, spec.name, dict(spec.settings))


def _whole(label: str, system: Spec) -> Iterator[tuple[str, Verdict]]:
    """What a model claims as a whole, that it trains, and how it decodes."""
    yield from ((label, verdict) for verdict in verify_model(system))
    yield label, _trains(system, system["program"][0]["objective"])
    model, grown = build(system), stages(system)[-1].spec
    if model.claims.get("streams"):
        yield label, _decodes(model)
    if grown != model.spec:  # what comes out of a program that transforms its model
        made = f"{label}, at last"
        yield from ((made, verdict) for verdict in verify_model(grown))
        model = build(grown)
        if model.claims.get("streams"):
            yield made, _decodes(model)


def _decodes(model: Model) -> Verdict:
    """How a model that goes on from a state decodes."""
    why = refusal(model)
    return Verdict(f"decodes as it trains: {why}" if why else "decodes as recorded instructions", True)


def _home(label: str, part: Spec) -> Spec:
    """A small system that an objective can train: a recipe that has it, or one with the ends that it asks for."""
    recipes = registry.entries("recipe").values()
    home = systems.spec(next((entry.name for entry in recipes if label in parts_of(entry)), "llama"), "tiny")
    ends = {kind: Spec.of(kind, name, dict(own)) for kind, (name, own) in find_around(part).items()}
    return home.but(model=home["model"].but(**ends))


def _trains(system: Spec, part: Spec) -> Verdict:
    """A step's loss is finite, and so is the gradient of every parameter that has one."""
    model = build(system)
    objective = build_objective(part, model)
    draw = torch.Generator().manual_seed(0)
    objective.adopt(model, model)
    batch = objective.prepare(objective.example(model, 2, 13, draw), lambda _, shape: torch.rand(shape, generator=draw))
    terms = objective(model, batch)
    torch.stack([total / count for total, count, *_ in terms.values()]).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    ok = bool(gradients) and all(bool(g.isfinite().all()) for g in gradients)
    return Verdict("trains", ok, "" if ok else "a gradient is not finite, or there is none")


def _study(entry: registry.Entry) -> Iterator[tuple[str, Verdict]]:
    label, study = f"study:{entry.name}", entry.load().study()
    for race in study.races:
        try:
            for arm in race.arms:
                target = systems.parse_arm(arm)
                systems.spec(target.name, "tiny", **target.overrides)
            if race.task:
                make_task(race.task)
        except UsageError as error:
            yield label, Verdict(f"race {race.name}", False, str(error))
        else:
            yield label, Verdict(f"race {race.name}", True)
    races = {each.name for each in (*study.races, *study.readings)}
    for prediction in study.predictions:
        yield label, Verdict(f"predicts: {prediction.text}", races.issuperset(prediction.races))
