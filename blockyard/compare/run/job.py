"""One run of a comparison, from a job to its result.

Roles: `tune` scores on the tune split, `final` on the test split, and never the other way round. Data order depends
on the seed alone; the start of the weights and what is drawn while training on the seed, the system and its ordinal
(two equal arms differ).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from blockyard.compare.documents import FORMAT, ByDepth, Job, Point, RunResult
from blockyard.compare.identity import key_of
from blockyard.compare.plan.dataset import named, own_orders
from blockyard.compare.plan.onward import first_model
from blockyard.compare.run.after import Learner, become
from blockyard.compare.run.probes import inside
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document, sealed, write_whole
from blockyard.core.random import fold
from blockyard.core.spec import Spec
from blockyard.data.rows import Arrays
from blockyard.interop.tokenizer import text_files
from blockyard.model.attachment import save_attachment
from blockyard.model.model import Model, build
from blockyard.model.save import load_model, save_model
from blockyard.probe import by_depth_probe
from blockyard.task import Exam, Material
from blockyard.task._material import Predict
from blockyard.tracker._told import Told
from blockyard.train.journal import Line
from blockyard.train.loop import Settings, to_batch, train
from blockyard.train.precision import arithmetic
from blockyard.train.schedule import ATTACHED

TOKENS, LOGITS = 1 << 12, 1 << 20  # of a forward that scores, where training takes fewer: small batches waste time
SCORES = {"final": "score", "tune": "score_tuning"}  # what trackers know it by: only the first is judged
Tell = Callable[[int, float, str], None]  # a step that is done, its loss, and words on what is inside
Price = Callable[[Mapping[str, torch.Tensor], Batch], torch.Tensor]  # predictions -> amounts (B,) or (B,K)


def run_job(job: Job, folder: Path, tell: Tell, told: Told | None = None) -> RunResult:
    """Train and score one run, or give the result that it left before; `told` are its trackers."""
    done = read_result(folder)
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    told = told or Told((), None, lambda *_: None)
    told.begin()
    data = named(job.choice)
    if data.hash != job.data:
        raise UsageError("the data changed since this comparison was planned; use another --out")
    model, result = _remade(job, data, folder) if job.then else _trained(job, data, folder, tell, told)
    if result.finished:
        result = _scored(result, model, data, job)
        if job.role == "final":
            predict = _predict(model, job)
            exhibits = data.exhibits(predict, data.exam(job.role, job.length))
            result = replace(result, probes=inside(model, data, job.length), exhibits=exhibits)
            _save(model, folder / "model", job, data.tokenizer, data.beside(predict))
    also = {f"also/{name}": value for name, value in result.also.items()}
    told.end(result.steps, {SCORES[job.role]: result.score, **also}, "" if result.finished else result.reason)
    write_whole(folder / "result.json", sealed(result.to_json()))
    for left in folder.glob("*.ckpt"):
        left.unlink()
    return result


def _save(model: Model, folder: Path, job: Job, tokenizer: bytes | None, beside: Mapping[str, bytes]) -> None:
    """The model of a run in a folder; of a run that trained what it attached to another model that alone.

    Who went on from a model has the words of that, in all of their files; an adapter finds the rest beside the model.
    """
    words = text_files(job.init) if job.init else {}
    program: tuple[Spec, ...] = Spec.from_json(job.system)["program"] if job.init else ()
    if program and all(phase["train"] == (ATTACHED,) for phase in program):
        save_attachment(model, folder, of=job.init, tokenizer=words.get("tokenizer.json"))
    else:
        save_model(model, folder, tokenizer=None if words else tokenizer, beside={**words, **beside})


def _trained(job: Job, data: Material, folder: Path, tell: Tell, told: Told) -> tuple[Model, RunResult]:
    """The model of a job, trained, and what that took."""
    system = Spec.from_json(job.system)
    start = fold("start", job.seed, system.hash, job.ordinal)
    model = first_model(job.init, system["init"], job.device) if job.init else build(system, start).to(job.device)
    settings = Settings(
        steps=job.steps, lr=job.lr, schedule=job.schedule, precision=job.precision, device=job.device,
        micro=job.micro, seed=start, log_every=max(1, job.steps // 40), save_seconds=job.save_seconds,
    )  # fmt: skip
    own, words, each = own_orders(system, job, job.seed), [""], job.batch * job.length

    def look(model: Model, batch: Batch) -> dict[str, np.ndarray]:
        found = by_depth_probe(model, batch)
        words[0] = ByDepth.of(0, {name: float(value) for name, value in found.items()}).words
        return found

    def follow(line: Line) -> None:
        inside = {f"depth/{name.replace(':', '/')}": value for name, value in line.inside.items()}
        told.point(line.step, {"loss": line.loss, "rate": line.rate, "seconds": line.seconds, **inside})

    trained = train(
        system, model, data.order(job.length, job.batch, job.seed), settings, folder,
        lambda step, loss: tell(step, loss, words[0]), own=own, look=look if job.role == "final" else None,
        follow=follow if told.made else None,
    )  # fmt: skip
    curve: list[Point] = [(step * each, loss) for step, loss in trained.curve]
    depths = [ByDepth.of(step * each, figures) for step, figures in trained.inside]
    ended = trained.status, trained.reason, trained.steps, trained.seconds
    return trained.model, RunResult(key_of(job), *ended, curve, depths=depths)


def train_along(job: Job, data: Material, folder: Path) -> None:
    """The training of a job beside the process that leads it: what comes out is that one's."""
    if not job.then:
        _trained(job, data, folder, lambda *_: None, Told((), None, lambda *_: None))


def _remade(job: Job, data: Material, folder: Path) -> tuple[Model, RunResult]:
    """What the model of another run became, with the training of that: its steps, its seconds and its curve."""
    before = folder.parent / key_of(job.base)
    trained = read_result(before)
    if trained is None:
        raise UsageError(f"{before} is missing, which {folder} is made from; give the same command again")
    result = RunResult(key_of(job), trained.status, trained.reason, trained.steps, trained.seconds, trained.curve)
    model = build(Spec.from_json(job.system), 0)
    if not result.finished:
        reason = f"what it is made from failed: {trained.reason}"
        return model, replace(result, reason=reason)
    model = load_model(before / "model", job.device).eval()
    try:
        model, made = become(model, job, data, partial(Learner, job, data, folder))
    except UsageError as error:  # of these numbers, not of the request: that was tried on untrained ones
        return model, replace(result, status="failed", reason=str(error))
    return model, replace(result, made=made)


def _scored(result: RunResult, model: Model, data: Material, job: Job) -> RunResult:
    """With the scores of the role's test, and where asked those at other lengths."""
    exam, scoring = data.exam(job.role, job.length), Scoring.of(job)
    found = amounts(model, data.amounts, exam, scoring)
    groups = exam.groups(found)
    if not np.isfinite(groups).all():
        result = replace(result, status="failed", reason="the score is not finite")
    lengths = by_length(model, data, job) if job.role == "final" and job.lengths else None
    return replace(
        result, groups=groups.tolist(), weights=exam.weights.tolist(), score=float(exam.weights @ groups),
        lengths=lengths, also=_plain(data.figures(exam.sums(found).sum(0), float(exam.asked.sum()))),
    )  # fmt: skip


def _predict(model: Model, job: Job) -> Predict:
    """What the model says of some rows, as plain arrays."""

    @torch.no_grad()
    def predict(arrays: Arrays) -> dict[str, np.ndarray]:
        with arithmetic(job.precision, job.device):
            said = model(model.blind(to_batch(arrays, job.device))).prediction
        return {name: value.float().cpu().numpy() for name, value in said.items()}

    return predict


def _plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures that JSON can hold: None for one that is no number."""
    return {name: float(value) if math.isfinite(value) else None for name, value in figures.items()}


def read_result(folder: Path) -> RunResult | None:
    """The result that the finished run of this folder left, if there is one; UsageError where it was changed."""
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        result = RunResult.from_json(read_document(path, FORMAT, sealed_since=2), path)
    except UsageError as error:
        raise UsageError(f"{error}; remove {folder} to do this run again") from None
    if result.key != folder.name:
        raise UsageError(f"{path} is the result of another run; remove {folder} to do this run again")
    return result


@dataclass(frozen=True)
class Scoring:
    """How rows are scored: as many tokens at once as a training batch has, in its arithmetic."""

    tokens: int
    device: str = "cpu"
    precision: str = "float32"

    @staticmethod
    def of(job: Job) -> "Scoring":
        return Scoring(job.batch * job.length, job.device, job.precision)


@torch.no_grad()
def amounts(model: Model, price: Price, exam: Exam, how: Scoring) -> np.ndarray:
    """(rows,) or (rows,K) what every row of an exam cost the model: nats, or wrong answers."""
    found: list[np.ndarray] = []
    least = min(TOKENS, LOGITS // max(1, getattr(model.axes.get("stem.vocab"), "size", 1)))
    size = max(1, max(how.tokens, least) // exam.length)
    for first in range(0, len(exam), size):
        batch = to_batch(exam.take(slice(first, min(first + size, len(exam)))), how.device)
        with arithmetic(how.precision, how.device):
            said = model(model.blind(batch)).prediction
        found.append(price(said, batch).cpu().numpy())
    return np.concatenate(found)


def by_length(model: Model, data: Material, job: Job) -> dict[str, float | None]:
    """The score at other lengths than the training length; None where a model cannot go."""
    found: dict[str, float | None] = {}
    for length, exam in data.at_lengths(job.role, job.length, job.reach):
        try:
            value = float(exam.groups(amounts(model, data.amounts, exam, Scoring.of(job)))[0])
        except UsageError:
            value = math.nan
        found[str(length)] = value if math.isfinite(value) else None
    return found
