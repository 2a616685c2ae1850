"""What arms are trained on and scored by, from what a user typed: a task, data, or both.

A task that makes its own examples needs no data. Otherwise a source reads the data, and the task is asked of it: the
one that was named, or the one that data of this kind are usually for.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from blockyard.compare.documents import Choice, Data, Job, Training
from blockyard.core import registry
from blockyard.core.errors import UsageError, brief
from blockyard.core.files import cache_root
from blockyard.core.random import fold
from blockyard.core.spec import Spec, has_own_rows
from blockyard.data.once import keep
from blockyard.data.rows import Batches
from blockyard.data.tokens import Codec
from blockyard.interop.tokenizer import codec_of
from blockyard.source import read
from blockyard.source._base import known_by_name
from blockyard.task import DataTask, make_task
from blockyard.task._exercise import Exercise
from blockyard.task._material import Material


def named(choice: Choice) -> Material:
    """The material that a plan or a job names."""
    return _material(choice.task, tuple(choice.paths), choice.codec, choice.words)


@lru_cache(maxsize=4)
def _material(text: str | None, paths: tuple[str, ...], codec: str | None, words: str = "") -> Material:
    """Read once a process."""
    task = make_task(text) if text else None
    if task is not None and not isinstance(task, DataTask):
        return Exercise(text or "", task)
    data = read(paths, task.of if task else (), codec=_kept_codec(words, codec) if words else codec or "bytes")
    asked = task or make_task(data.usually())
    assert isinstance(asked, DataTask), "what data are usually for is asked of data"
    return asked.material(data)


def saved_as(codec: Codec) -> str:
    """How a plan names the tokeniser of a saved model."""
    return f"saved:{codec.hash[:12]}"


def _kept_codec(words: str, named: str | None) -> Codec:
    """The codec of a saved model, as it was when the run was planned."""
    codec = codec_of(words)
    if codec is None or saved_as(codec) != named:
        raise UsageError(f"the tokenizer of {words} changed since this run was planned; use another --out")
    return codec


def own_rows(system: Spec, codec: str | None) -> dict[int, Material]:
    """What phases train on that have rows of their own, by the place of the phase."""
    found = {}
    for index, phase in enumerate(system["program"]):
        if has_own_rows(phase):
            task, paths = phase.get("task"), phase.get("data", ())
            found[index] = named(chosen(task, paths, codec or "bytes"))
            if phase.get("digest") not in (None, found[index].hash):
                raise UsageError(
                    f"the data of phase {index} changed since this comparison was planned; use another --out"
                )
    return found


def own_orders(system: Spec, job: Job, seed: int) -> dict[int, Batches]:
    """The training batches of phases with rows of their own, in orders that the seed alone decides."""
    program = system["program"]
    return {
        index: material.order(program[index].get("length") or job.length, job.batch, fold(index, seed))
        for index, material in own_rows(system, job.codec).items()
    }


def with_own_rows(system: Spec, material: Material, length: int, codec: str) -> Spec:
    """The system with what its phases' own rows were found to be: their hash, and how long they are.

    Where a phase goes through a transform that tells the stem anew what it reads, the stem begins as the rows of the
    first phase ask, and goes on as those of that phase do. Rows that it cannot read are a `UsageError`.
    """
    owned = own_rows(system, codec)
    if not owned:
        return system
    program, stem = list(system["program"]), system["model"]["stem"]
    asked = [owned.get(index, material) for index in range(len(program))]
    retold = [bool(_retelling(each, stem, material)) for each in program]
    reads = asked[0] if any(retold) else material
    if reads is not material:
        system = system.but(model=system["model"].but(stem=stem.but(**_read(stem, reads)[1])))
    for index, own in enumerate(asked):
        if retold[index]:
            told, reads = _retelling(program[index], stem, material), own
            apply = [each.but(**_read(stem, own)[1]) if each in told else each for each in program[index]["apply"]]
            program[index] = program[index].but(apply=tuple(apply))
        if own is not reads or index in owned:
            _check_alike(f"phase {index}", stem, own, reads, codec)
        if index in owned:
            _check_taught(f"phase {index}", program[index], own, material)
            size = own.length or length
            program[index] = program[index].but(digest=own.hash, **({} if size == length else {"length": size}))
    return system.but(program=tuple(program))


def _read(stem: Spec, material: Material) -> tuple[str, dict[str, Any]]:
    """What a stem reads of a material: its kind, and what it is told of it."""
    known = registry.find("stem", stem.name).schema
    return material.ends.reads, {name: value for name, value in material.ends.settings.items() if name in known}


def _retelling(phase: Spec, stem: Spec, material: Material) -> list[Spec]:
    """The transforms of a phase that tell the stem anew all that it is told of a material."""
    told = _read(stem, material)[1].keys()
    found = [each for each in phase.get("apply", ()) if told <= registry.find("transform", each.name).schema.keys()]
    return found if told else []


def _check_taught(asker: str, phase: Spec, own: Material, material: Material) -> None:
    """Refuse rows that teach another thing than the objective of the phase, which is of the sort of the run's."""
    learns = registry.find("objective", phase["objective"].name).constant("learns", "tokens")
    if learns == material.ends.learns != own.ends.learns:
        raise UsageError(f"{asker} learns {learns}, and its own rows ({own.name}) teach {own.ends.learns}")


def _check_alike(asker: str, stem: Spec, own: Material, material: Material, codec: str) -> None:
    """Refuse rows of a phase that are not read as those before are."""
    told = [_read(stem, each) for each in (own, material)]
    if told[0] != told[1]:
        said = [f"{reads} {brief(str(settings), 300)}" for reads, settings in told]
        raise UsageError(f"{asker} trains on {said[0]}, and the model of this run reads {said[1]}")
    if codec != "bytes" and own.ends.reads == "ids":
        raise UsageError(f"{asker} has texts of its own, whose ids would mean other words with --codec {codec}")


def described(material: Material, choice: Choice) -> Data:
    """What the plan says of it."""
    return Data(
        material.name, material.hash, **vars(choice), summary=material.summary, scored=material.scored,
        training=Training(*material.training), bytes=material.bytes, rows=material.counts,
    )  # fmt: skip


def chosen(task: str | None, paths: Sequence[str], codec: str) -> Choice:
    """How a plan names what the user asked for, so that every process of the comparison can read it."""
    made: Any = make_task(task) if task is not None else None
    if made is not None and not isinstance(made, DataTask):
        if paths:
            raise UsageError(f"--task {made.name} makes its own examples, so it takes no --data; give one of the two")
        return Choice(task, [], None)
    return Choice(task, _kept(paths), codec)


def _kept(paths: Sequence[str]) -> list[str]:
    """The paths for every process to read; what is data's own name now stays so, whatever is called so later."""
    known = known_by_name()
    return [path if path in known and not os.path.exists(path) else keep([path], cache_root())[0] for path in paths]
