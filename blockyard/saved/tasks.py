"""What a trained model scores on tasks of lm-evaluation-harness, document by document.

    column    TASK/METRIC, and /FILTER where a task has several; TASK as it was asked for: the documents of all tasks
              of a group are those of the group
    figures   a metric is judged where it is the mean of what its documents score: whether it is, is tried. The bits per
              byte of whole texts are a ratio of sums: a document scores its share of it (blocks.py)

What is neither (perplexities, F1 over a corpus) has no score of a document, and is told. Needs the extra `eval`.
"""

import contextlib
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core import numbers
from blockyard.core.document import Document
from blockyard.core.errors import UsageError, WorkFailed, brief, unknown
from blockyard.saved.blocks import ratio_scores

RATIO, OF_RATIO = "bits_per_byte", ("word_perplexity", "byte_perplexity")  # of one and the same likelihood
NEAR = 1e-6  # relative: a mean and the figure that should be it


@dataclass(frozen=True)
class EvalSettings:
    """How models are asked; of a text only `length` counts.

    length       tokens read at once; None: as the folder says
    limit        documents of a task, the first ones; None: all
    num_fewshot  examples before a question; None: as the task says
    """

    length: int | None = None
    limit: int | None = None
    num_fewshot: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("length", numbers.EVAL_LENGTH), ("limit", numbers.LIMIT), ("num_fewshot", numbers.SHOTS)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, known(getattr(self, name), f"--{name.replace('_', '-')}"))


@dataclass(frozen=True)
class TaskScore(Document):
    """A figure of a task as the harness gives it: with its standard error where it has one, over so many documents."""

    task: str
    metric: str
    score: float
    stderr: float | None
    documents: int
    better: str | None

    @property
    def words(self) -> str:
        """In a few words."""
        return f"{self.task} {self.metric} {self.score:.4f}"


@dataclass(frozen=True)
class TaskRun(Document):
    """All that a model scored.

    names    the tasks as they were asked for             scores   of each task, by metric
    samples  of every document its figures by column      better   of every column: lower or higher
    notes    what must be said
    """

    model: str
    names: list[str]
    scores: list[TaskScore]
    samples: dict[str, dict[str, float]]
    better: dict[str, str]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        wide = max(len(f"{each.task} {each.metric}") for each in self.scores)
        lines = [f"{self.model}:"]
        for each in self.scores:
            error = "" if each.stderr is None else f" +- {each.stderr:.4f}"
            lines.append(
                f"  {f'{each.task} {each.metric}':{wide}}  {each.score:.4f}{error}  {each.documents:,} documents"
            )
        return "\n".join(lines)


def run_tasks(folder: str, tasks: Sequence[str], settings: EvalSettings | None = None) -> TaskRun:
    """What the model of a folder scores on tasks.

    folder    of a model of ours, of transformers, of an adapter, or OUT:ARM of a comparison
    tasks     by name, as YAML files, or folders of these
    settings  how they are asked: documents, examples before each, tokens read at once
    """
    asked = settings or EvalSettings()
    harness = _harness()
    names, manager = _found(tasks)
    with contextlib.redirect_stdout(sys.stderr):  # an answer in JSON stands alone
        try:
            manager.load(names)
        except Exception as error:  # of whatever a task loads its documents with
            raise UsageError(f"the tasks cannot be loaded: {_line(error)}") from None
        model = harness.Harnessed(folder, max_length=asked.length)
        try:
            found = harness.simple_evaluate(
                model=model, tasks=list(names), task_manager=manager, limit=asked.limit,
                num_fewshot=asked.num_fewshot, log_samples=True, bootstrap_iters=1000,
            )  # fmt: skip
        except UsageError:
            raise
        except Exception as error:
            raise WorkFailed(f"lm-eval: {_line(error)}") from error
    assert found is not None
    run = taken(folder, [Path(each).stem if os.path.exists(each) else each for each in tasks], found)
    if model.max_length is not None:
        run.notes.append(f"{folder} reads {model.max_length:,} tokens at once: of longer contexts the left is cut")
    return run


def taken(model: str, names: list[str], found: Mapping[str, Any]) -> TaskRun:
    """The scores of a document that the harness gives: `results`, `samples`, `higher_is_better`, `group_subtasks`."""
    owner = _owners(found.get("group_subtasks") or {})
    scores, notes = list[TaskScore](), dict[str, None]()
    columns: dict[str, dict[str, Any]] = {}
    better: dict[str, str] = {}
    for task, documents in found["samples"].items():
        filters = list(dict.fromkeys(each["filter"] for each in documents))
        for metric in dict.fromkeys(name for each in documents for name in each["metrics"]):
            way = {True: "higher", False: "lower"}.get(found["higher_is_better"].get(task, {}).get(metric))
            for kind in filters:
                own = {f"{task} {each['doc_id']}": each[metric] for each in documents
                       if each["filter"] == kind and metric in each["metrics"]}  # fmt: skip
                told, of = found["results"][task], f"{metric},{kind}"
                if not isinstance(told.get(of), int | float):
                    continue
                error = told.get(f"{metric}_stderr,{kind}")
                more = f"/{kind}" if len(filters) > 1 else ""
                error = float(error) if isinstance(error, int | float) else None
                scores.append(TaskScore(task, f"{metric}{more}", float(told[of]), error, len(own), way))
                why = _unfit(metric, own, float(told[of]), way)
                if why:
                    notes[f"{task} {metric}: {why}"] = None
                    continue
                column = f"{owner.get(task, task)}/{metric}{more}"
                columns.setdefault(column, {}).update(own)
                better[column] = str(way)
    samples: dict[str, dict[str, float]] = {}
    for column, own in columns.items():
        for sample, value in _plain(column.split("/")[1], own).items():
            samples.setdefault(sample, {})[column] = value
    return TaskRun(model, names, scores, samples, better, list(notes))


def columns_of(runs: Sequence[TaskRun], score: str | None) -> dict[str, str]:
    """The columns that all runs have, or of them those that are named, with the way that is better."""
    common = {name: way for name, way in runs[0].better.items() if all(name in run.better for run in runs)}
    if not common:
        raise UsageError("no metric of these tasks is a mean over documents, so there is nothing to pair")
    if score is None:
        return common
    chosen: dict[str, str] = {}
    for word in (each.strip() for each in score.split(",")):
        mine = {name: way for name, way in common.items() if word == name or word in name.split("/")[1:]}
        if not mine:
            raise unknown("metric", word, {name.split("/")[1] for name in common})
        chosen |= mine
    return chosen


def _unfit(metric: str, own: Mapping[str, Any], figure: float, way: str | None) -> str:
    """Why a metric is not judged by its documents; empty where it is."""
    if metric in OF_RATIO and all(isinstance(value, tuple) for value in own.values()):
        return f"the same likelihood as {RATIO}, which is judged"
    try:
        values = _plain(metric, own)
    except (TypeError, ValueError):
        return "no figure of a single document, so it is not judged"
    mean = sum(values.values()) / len(values)
    if not math.isclose(mean, figure, rel_tol=NEAR, abs_tol=NEAR):
        return "no mean over documents, so it is not judged"
    return "" if way else "the task does not say which way is better, so it is not judged"


def _plain(metric: str, own: Mapping[str, Any]) -> dict[str, float]:
    """A figure of every document; of a likelihood with the bytes of its text the share of bits per byte."""
    if metric == RATIO and all(isinstance(value, tuple) for value in own.values()):
        nats, sizes = np.array(list(own.values()), np.float64).T
        return dict(zip(own, ratio_scores(-nats / math.log(2), sizes).tolist()))
    if not all(isinstance(value, bool | int | float | np.number) for value in own.values()):
        raise TypeError
    return {sample: float(value) for sample, value in own.items()}


def _owners(groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Of every task in a group the outermost group."""
    above = {child: group for group, children in groups.items() for child in children}
    found = {}
    for task in above:
        top = task
        while top in above:
            top = above[top]
        found[task] = top
    return found


def _found(tasks: Sequence[str]) -> tuple[list[str], Any]:
    """The tasks by their names, and what knows them: those of the harness, and of YAML files and folders."""
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    names: list[str] = []
    folders = [each for each in tasks if os.path.isdir(each)]
    for each in tasks:
        if each not in folders:
            names.append(each)
            continue
        inside = list(TaskManager(include_path=each, include_defaults=False).all_subtasks)
        if not inside:
            raise UsageError(f"{each} holds no task: no YAML file there says task: NAME")
        names += inside
    own = all(os.path.exists(each) for each in tasks)
    manager = TaskManager(include_path=folders or None, include_defaults=not own)
    known = set(manager.all_tasks)
    for each in names:
        if each not in known and not os.path.exists(each) and not any(mark in each for mark in "*?["):
            raise unknown("task", each, known)
    return names, manager


def _harness() -> Any:
    """The file that asks models for the harness, and its own function for it."""
    try:
        from blockyard.interop import harness
    except ImportError as error:
        raise UsageError(f"tasks need lm-eval: pip install 'blockyard[eval]' ({error.name} is missing)") from None
    return harness


def _line(error: Exception) -> str:
    """The first line of an error, with its kind."""
    said = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {brief(said[0], 200)}"
