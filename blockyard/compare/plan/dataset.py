"""What arms are trained on and scored by, from what a user typed: a task, data, or both.

A task that makes its own examples needs no data. Otherwise a source reads the data, and the task is asked of it: the
one that was named, or the one that data of this kind are usually for.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from blockyard.compare.documents import Choice, Data, Training
from blockyard.core.errors import UsageError
from blockyard.data.corpus import cache_root
from blockyard.data.once import keep
from blockyard.source import read
from blockyard.task import DataTask, make_task
from blockyard.task._exercise import Exercise
from blockyard.task._material import Material


def named(choice: Choice) -> Material:
    """The material that a plan or a job names."""
    return _material(choice.task, tuple(choice.paths), choice.codec)


@lru_cache(maxsize=2)
def _material(text: str | None, paths: tuple[str, ...], codec: str | None) -> Material:
    """Read once a process."""
    task = make_task(text) if text else None
    if task is not None and not isinstance(task, DataTask):
        return Exercise(text or "", task)
    data = read(paths, task.of if task else (), codec=codec or "bytes")
    asked = task or make_task(data.usually())
    assert isinstance(asked, DataTask), "what data are usually for is asked of data"
    return asked.material(data)


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
    return Choice(task, keep(paths, cache_root()), codec)
