"""A trained model is made smaller step by step, and every step says what it saved and what that cost.

    shrink("my-model", ["drop:steps=2", "gptq:bits=4"], recover="200k", data="my.txt", out="my-small-model")

A step is a transform. Each is measured as it stands: bytes, numbers, operations a token, the time of a decoded token
against the model as it was (in turns), and the score on the test of the data. What the steps lose is judged together,
block by block of that test. Every step is kept in a folder of its own, a model like any other: a chain that was
interrupted goes on behind its last one, inside a step that trains from that one's last checkpoint.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.bench.measure import interleave, paired
from blockyard.compare.documents import Became, Job, Then
from blockyard.compare.identity import key_of
from blockyard.compare.judge.tuning import UNTUNED
from blockyard.compare.plan.after import transformed
from blockyard.compare.plan.dataset import named
from blockyard.compare.plan.plan import Request, make_job, make_plan
from blockyard.compare.report.format import becomes, gap, memory, of_training, plural, word
from blockyard.compare.run.after import Learner, become
from blockyard.compare.run.job import Scoring, amounts
from blockyard.compare.run.speed import decode_seconds, goes_on
from blockyard.compare.verdict import judge
from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.core.files import is_aside, read_document, sealed, write_whole
from blockyard.core.numbers import TOKENS as amount
from blockyard.interop import load
from blockyard.interop.tokenizer import usable_files
from blockyard.model.count import count, numbers, stored_bytes
from blockyard.model.find import find_model
from blockyard.model.model import Model
from blockyard.model.save import load_model
from blockyard.saved.blocks import ratio_scores
from blockyard.systems import parse_transform
from blockyard.task import Exam, Material
from blockyard.transform._base import chain

FORMAT, ROUNDS, FIRST = 1, 7, "as it was"


@dataclass(frozen=True)
class Stage(Document):
    """A model of the chain: what it takes, how it scores, and what made it of the one before.

    folder      of the model                        key       names all that its numbers follow from
    score       on the test                         blocks    the same, block by block of it
    seconds     a decoded token, the median; None: it writes nothing token by token
    faster      how many times as fast as the model as it was, measured in turns, and 90% bounds
    became      what the transform covered and passed over, and figures of its own; None: the model as it was
    """

    name: str
    folder: str
    key: str
    params: int
    model_bytes: int
    flops_per_token: float
    score: float
    blocks: list[float]
    seconds: float | None = None
    faster: list[float] = field(default_factory=list)
    became: Became | None = None
    format: int = FORMAT


@dataclass(frozen=True)
class Lost(Document):
    """By how much a stage scores worse than the model as it was, with bounds that hold for all stages together.

    verdict   on the stage: better or worse than the model as it was, equivalent, or not resolved
    """

    name: str
    difference: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Shrunk(Document):
    """A chain that was gone through: its stages, the model as it was first, and what each of the others lost.

    model   the folder of the last one        report   a page of the verdict
    """

    model: str
    data: str
    unit: str
    stages: list[Stage]
    lost: list[Lost]
    report: str

    def __str__(self) -> str:
        first, rows = self.stages[0], [("", "bytes", "numbers", "MFLOP/tok", "token", self.unit, "worse by")]
        lost = {each.name: each for each in self.lost}
        for stage in self.stages:
            quick = f"{stage.faster[0]:.2f}x" if stage.faster else "-" if stage.seconds is None else "1x"
            worse = lost.get(stage.name)
            said = "" if worse is None else f"{worse.difference:+.4f} ({worse.low:+.4f} to {worse.high:+.4f})"
            share = f"{memory(stage.model_bytes)} ({stage.model_bytes / first.model_bytes:.0%})"
            figures = f"{stage.params:,}", f"{stage.flops_per_token / 1e6:.3g}", quick, f"{stage.score:.4f}", said
            rows.append((stage.name, share, *figures))
        wide = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, wide)).rstrip() for row in rows]
        lines += [""] + [f"{each.name}: {told(each.became)}" for each in self.stages if each.became]
        return "\n".join(
            [*lines, "", f"the last one is in {self.model}, a model like any other; report: {self.report}"]
        )


def told(step: Became) -> str:
    """What a step covered, what it passed over, and what it was shown, in words."""
    kinds = {what: sum(each == what for each in step.covered.values()) for what in step.covered.values()}
    done = "; ".join(f"{what} for {plural(count, 'part')}" for what, count in kinds.items())
    left = f"; left as they were: {', '.join(step.left[:4])}{', ...' if step.left[4:] else ''}" if step.left else ""
    codes = f"; as codes {memory(step.report['grid_bytes'])}" if step.report.get("grid_bytes") else ""
    return f"{done}{left}{of_training(step)}{codes}"


def shrink(
    model: str | Path, steps: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path,
    recover: str | float | None = None, margin: float = 0.01, tell: Callable[[str], None] | None = None, **asked: Any,
) -> Shrunk:  # fmt: skip
    """Make a saved model smaller by these transforms in order, and say of each what it saved and what it cost.

    model     a folder that `load` takes, or OUT:ARM        steps   `drop:steps=2`, `gptq:bits=4` and others
    data      files or folders, as `compare` takes them: what transforms are shown, and what is scored
    out       the folder of the chain: a model in each of OUT/1-drop, OUT/2-gptq, ..., and OUT/verdict
    recover   so many tokens of training behind the last step before the weights are put on a grid or packed; a step
              `recover:tokens=...` says so in any other place
    margin    the loss that matters, as a share of the score        tell    progress, line by line
    asked     task, length, batch, device, precision, as `train` takes them

    The same call goes on where an earlier one stopped; a folder that holds something else is a `UsageError`.
    """
    where, say = Path(find_model(str(model))), tell or (lambda _: None)
    folder, specs = Path(out), [parse_transform(step) for step in _with_recovery(steps, recover)]
    _check_apart(where, folder)
    chain(specs)
    paths = (data,) if isinstance(data, str) else tuple(data)
    plan = make_plan(Request((), paths, init=str(where), seeds=1, tuning="none", **asked), say)
    (arm,) = plan.arms
    planned = transformed(arm, specs, plan.same.length, plan.same.batch).then  # what cannot be is refused here
    job = make_job(replace(plan, steps={arm.id: 0}), arm, "final", plan.seeds[0], UNTUNED)
    work = _Work(where, folder, job, named(job.choice), say)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}; name another --out") from None
    stages = work.stages(planned)
    unit = plan.metric.unit
    shares = work.exam.weights
    lost, page = _lost(stages, shares, plan.metric.better, margin, folder / "verdict")
    done = Shrunk(stages[-1].folder, plan.data.name, unit, stages, lost, page)
    write_whole(folder / "shrunk.json", sealed({**done.to_json(), "format": FORMAT}))
    return done


def _with_recovery(steps: Sequence[str], tokens: str | float | None) -> list[str]:
    """The steps, with one that trains where it was asked for."""
    if not steps:
        raise UsageError("nothing to do: name a step, such as gptq:bits=4; see: blockyard list transform")
    if tokens is None:
        return list(steps)
    at = next((i for i, made in enumerate(chain(steps)) if made.settles), len(steps))
    if not at:
        raise UsageError(f"--recover: {steps[0]} leaves nothing that could learn, and nothing goes before it")
    return [*steps[:at], f"recover:tokens={round(amount(tokens, '--recover'))}", *steps[at:]]


def _check_apart(model: Path, out: Path) -> None:
    """Refuse to write a chain where its own model is, or where something else lies."""
    real, target = Path(os.path.realpath(model)), Path(os.path.realpath(out))
    if real.is_relative_to(target) or target.is_relative_to(real):
        raise UsageError(f"{out} holds {model}, or lies in it; name another --out")
    there = (each for each in out.rglob("*") if not each.is_dir() and not is_aside(each.name))
    if not _stage_file(out, 0, FIRST).exists() and any(there):
        raise UsageError(f"{out} holds something else; name another --out")


def _stage_file(out: Path, place: int, name: str) -> Path:
    word = name.removeprefix(f"{place} ").partition(":")[0] if place else "original"
    return out / f"{place}-{word}" / "stage.json"


@dataclass(frozen=True)
class _Work:
    """What every stage is made and measured with."""

    where: Path
    folder: Path
    job: Job
    data: Material
    say: Callable[[str], None]

    @cached_property
    def exam(self) -> Exam:
        """The test."""
        return self.data.exam("final", self.job.length)

    def stages(self, steps: Sequence[Then]) -> list[Stage]:
        """All of them, those that were made before from their folders."""
        first = load(self.where, self.job.device).eval()
        base = self._kept(0, FIRST, self.job) or self._measured(0, FIRST, self.job, first, str(self.where))
        found = [base]
        for place, step in enumerate(steps, start=1):
            done = steps[:place]
            shown = max((each.tokens for each in done if not each.trains), default=0)
            job = replace(self.job, then=[each.transform for each in done], shown=shown)
            name = f"{place} {becomes(step)}"
            stage = self._kept(place, name, job)
            if stage is None:
                self.say(f"{name} ...")
                before = first if place == 1 else load_model(found[-1].folder, job.device).eval()
                stage = self._made(place, name, job, before, first)
            found.append(stage)
        return found

    def _made(self, place: int, name: str, job: Job, before: Model, first: Model) -> Stage:
        """One step: the transform of the model before it, saved and measured."""
        home = _stage_file(self.folder, place, name).parent
        home.mkdir(parents=True, exist_ok=True)
        one = replace(job, then=job.then[-1:])
        model, made = become(before, one, self.data, lambda _: Learner(self.job, self.data, home, place))
        model.save(home / "model", beside=usable_files(self.where))
        return self._measured(place, name, job, model, str(home / "model"), made.steps[0], first)

    def _measured(
        self, place: int, name: str, job: Job, model: Model, folder: str, step: Became | None = None,
        first: Model | None = None,
    ) -> Stage:  # fmt: skip
        exam = self.exam
        blocks = exam.groups(amounts(model, self.data.amounts, exam, Scoring.of(job)))
        if not np.isfinite(blocks).all():
            raise UsageError(f"{name}: the score is no number; the model is kept in {folder}")
        seconds, faster = _pace(model, first)
        stage = Stage(
            name, folder, key_of(job), numbers(model), stored_bytes(model),
            count(model.spec, job.length).flops_per_token, float(exam.weights @ blocks), blocks.tolist(), seconds,
            faster, step,
        )  # fmt: skip
        write_whole(_stage_file(self.folder, place, name), sealed(stage.to_json()))
        return stage

    def _kept(self, place: int, name: str, job: Job) -> Stage | None:
        """The stage that an earlier call left; one of another chain is refused."""
        path = _stage_file(self.folder, place, name)
        others = [each for each in self.folder.glob(f"{place}-*/stage.json") if each != path]
        if others:
            raise UsageError(f"{others[0].parent} is of another chain; name another --out")
        if not path.exists():
            return None
        stage = Stage.from_json(read_document(path, FORMAT, sealed_since=1), path)
        if stage.key != key_of(job):
            raise UsageError(f"{path.parent} was made of other things (model, data, settings); name another --out")
        # where it lies now: the call that made it may have stood in another folder, or the chain was moved since
        return replace(stage, folder=str(path.parent / "model" if place else self.where))


def _pace(model: Model, first: Model | None) -> tuple[float | None, list[float]]:
    """Seconds of a decoded token, and how many times as fast as `first` that is, with its bounds."""
    if not goes_on(model):
        return None, []
    if first is None:
        return decode_seconds(model), []
    turns = {"now": lambda: decode_seconds(model), "first": lambda: decode_seconds(first)}
    found = interleave(turns, ROUNDS)
    return float(np.median(found["now"])), list(paired(found["now"], found["first"]))


def _lost(
    stages: Sequence[Stage], shares: np.ndarray, better: str, margin: float, out: Path
) -> tuple[list[Lost], str]:  # fmt: skip
    """What each stage lost against the first, judged together block by block, and the page of that.

    A block counts by its share (G,) of the score, so that a difference is that of two scores.
    """
    rows = [
        {"arm": stage.name, "block": str(at), "score": float(value)}
        for stage in stages for at, value in enumerate(ratio_scores(np.array(stage.blocks) * shares, shares))
    ]  # fmt: skip
    found = judge(rows, arm="arm", pair="block", score="score", better=better, margin=margin, against=FIRST, out=out)
    sign = 1 if better == "lower" else -1
    lost = []
    for stage in stages[1:]:
        pair = gap(found, stage.name, FIRST)
        assert pair is not None and pair.low is not None and pair.high is not None, "every pair has its interval"
        low, high = sorted((sign * pair.low, sign * pair.high))
        lost.append(Lost(stage.name, sign * pair.difference, low, high, word(pair)))
    return lost, found.report or str(out)
