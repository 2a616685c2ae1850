"""The one training loop: phases of objectives over one source of batches, on one clock.

    plan = Settings(steps=1000, batch=16, lr=3e-3)
    result = train(system, model, source, plan, folder)

A step's loss is sum / count over all its micro-batches, with the counts taken before the first backward, so that
splitting a batch changes nothing. A batch that asks nothing teaches nothing: its step passes and leaves no trace. A
loss that is not finite ends the run as failed. Out of memory halves the micro-batch and keeps the batch. Several
processes may share a run (train/spread.py), each with its rows of every batch. With a folder the run leaves checkpoints
and goes on from the last one. A phase may begin with transforms, or with the numbers of an earlier moment: the model
that comes out of a run is `result.model`, the one that went in where no phase does so.
"""

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.call import Moment
from blockyard.core.errors import UsageError
from blockyard.core.part import Draws, Objective
from blockyard.core.random import fold, uniform
from blockyard.core.site import BuildContext, Site
from blockyard.core.spec import Spec, has_own_rows, objectives, restarts
from blockyard.data.rows import Arrays, Batches
from blockyard.model.lineage import pairs, transformed
from blockyard.model.model import Model, Watch
from blockyard.train.checkpoint import fingerprint
from blockyard.train.journal import WEIGHTS, Figures, Follow, Journal
from blockyard.train.precision import arithmetic
from blockyard.train.schedule import frozen, own_schedule, schedule, trained
from blockyard.train.spread import here

FIELDS = (
    "tokens",
    "targets",
    "valid",
    "segment",
    "order",
    "readable",
)  # of a batch; other arrays are further fields of it


@dataclass(frozen=True)
class Settings:
    """How long and how to train; everything here is printed in a report under "same for all"."""

    steps: int
    lr: float
    schedule: str = "cosine"
    optimiser: str = "adamw"
    weight_decay: float = 0.1
    clip: float = 1.0
    micro: int | None = None  # rows a micro-batch; None: the whole batch
    precision: str = "float32"
    device: str = "cpu"
    seed: int = 0  # of what is drawn while training, and of what an objective owns
    log_every: int = 10
    save_seconds: float = 30.0


@dataclass(frozen=True)
class Trained:
    """How a run ended: `finished`, or `failed` with the reason; the mean losses since the last log, by step; what was
    seen inside on the way, by step; and the model that came out."""

    status: str
    reason: str
    steps: int
    seconds: float
    curve: tuple[tuple[int, float], ...]
    inside: tuple[tuple[int, Figures], ...]
    model: Model = field(compare=False, repr=False)


LOOKS = 4  # times that a run is looked into, evenly spread
Look = Callable[[Model, Batch], Mapping[str, np.ndarray]]


class Diverged(Exception):
    """The loss is no longer a number."""


def build_objective(spec: Spec, model: Model, seed: int = 0) -> Objective:
    """The objective of a phase, standing on the stream that the head reads; what it owns is never saved with the model.

    A model that does not promise what it needs is a `UsageError`.
    """
    made = Site("", model.head.stream, BuildContext(seed, Spec("linear", "dense"))).build("objective", spec)
    for claim in made.needs:
        model.require(claim, f"objective:{spec.name}")
    return made


def to_batch(rows: np.ndarray | Arrays, device: str) -> Batch:
    """The arrays of a source as a batch; of one array (B,T+1) every id is to be predicted from those before it."""
    if isinstance(rows, np.ndarray):
        ids = torch.from_numpy(rows).to(device)
        return Batch(ids[:, :-1], ids[:, 1:])
    found = {name: torch.from_numpy(values).to(device) for name, values in rows.items()}
    own = {name: found.pop(name) for name in FIELDS if name in found}
    return Batch(**own, more=found)


class Run:
    """A training run in progress: what one step needs, and what a checkpoint holds."""

    def __init__(
        self, system: Spec, model: Model, source: Batches, settings: Settings, own: Mapping[int, Batches] | None = None
    ) -> None:
        self.system, self.model, self.settings = system, model, settings
        self.micro = settings.micro
        shares = [phase["share"] for phase in system["program"]]
        ends = np.cumsum(shares) / sum(shares) * settings.steps
        self.phases = list(zip(system["program"], [round(end) for end in ends]))
        self.sources = [(own or {}).get(index, source) for index in range(len(self.phases))]
        bare = [i for i, phase in enumerate(system["program"]) if has_own_rows(phase) and i not in (own or {})]
        if bare:
            raise UsageError(f"phase {bare[0]} trains on rows of its own: train(..., own={{{bare[0]}: ...}})")
        self.restarts = restarts(system["program"])
        self.first = {  # phase and place where an objective stands first
            each: (index, place)
            for index, phase in reversed([*enumerate(system["program"])])
            for place, each in reversed([*enumerate(objectives(phase))])
        }
        self.objectives: dict[str, Any] = {}  # by where each stands first
        self.kept: dict[int, dict[str, Any]] = {}  # copies of everything as phases began that another restarts from
        self.moments: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)  # of all that was ever trained
        self.step, self.phase, self.rate = 0, -1, 0.0
        self.watch = Watch()
        self.spread = here()
        if self.spread.sharded and len(self.phases) > 1:
            raise UsageError("a program of several phases needs the whole model between them; leave --shard out")

    def enter(self, index: int) -> None:
        """Begin a phase: the model through its transforms, its objectives, and an optimiser over what it trains.

        What an earlier phase learned goes on, an objective of the same spec and the moments of every parameter; with
        `restart` all of it is what it was when that phase had begun, and what was made since is gone.
        """
        spec, _ = self.phases[index]
        before, first, self.phase = self.model, self.restarts[index], index
        if first is not None:
            self._restart(first)
        for place, transform in enumerate(spec.get("apply", ())):
            self._transform(transform, fold("transform", self.settings.seed, index, place))
        self.objective, *self.also = (self._objective(each, before) for each in objectives(spec))
        self.frozen = frozen(self.model, spec["train"])
        learns = trained(self.model, self.objective, spec["train"], self.also)
        for name, p in self.model.named_parameters():
            p.requires_grad_(name in learns)
        own = self.system.get("optimiser") or Spec("optimiser", self.settings.optimiser)
        self.spread.begin(self.model, self._minimised(), own.name)
        self.params = trained(self.model, self.objective, spec["train"], self.also)
        self.factor = schedule(own_schedule(self.system, own.name) or self.settings.schedule)
        make = registry.find("optimiser", own.name).load_named()
        rule = dict(own.settings) | dict(lr=self.settings.lr, decay=self.settings.weight_decay)
        self.optimiser = make(self.model, self.params, **rule)
        self.optimiser.state = self.moments
        later = self.restarts[index + 1 :]
        if index in later:
            self.kept[index] = self._copies(self._modules())
        for done in self.kept.keys() - {*later}:
            self._forget(self.kept.pop(done))

    def _objective(self, spec: Spec, before: Model) -> Any:
        """The objective of a spec, made when it is first met; `before`: the model as the last phase left it."""
        phase, place = self.first[spec]
        called = f"objective{phase}+{place}" if place else f"objective{phase}"
        if called not in self.objectives:
            seed = fold("objective", self.settings.seed, phase, *([place] if place else []))
            made = build_objective(spec, self.model, seed)
            made.adopt(self.model, before)
            self.objectives[called] = made.to(self.settings.device)
        return self.objectives[called]

    def _modules(self) -> dict[str, Any]:
        return {"model": self.model, **self.objectives}

    def _copies(self, modules: dict[str, Any]) -> dict[str, Any]:
        """Copies of modules, by the same names; what moments their parameters have, the copies have too."""
        made = copy.deepcopy(modules)
        for name, module in modules.items():
            for old, new in zip(module.parameters(), made[name].parameters()):
                if old in self.moments:
                    self.moments[new] = {key: value.clone() for key, value in self.moments[old].items()}
        return made

    def _forget(self, modules: dict[str, Any]) -> None:
        for module in modules.values():
            for p in module.parameters():
                self.moments.pop(p, None)

    def _restart(self, first: int) -> None:
        """The model, the objectives and the moments as they were when a phase had begun."""
        self._forget(self._modules())
        made = self._copies(self.kept[first])
        self.model, self.objectives = made.pop("model"), made

    def _transform(self, transform: Spec, seed: int) -> None:
        """Another model from here on; the moments of a tensor go to all that were made of it."""
        before = self.model
        self.model, lineage = transformed(before, transform, seed)
        self.model.recompute = before.recompute
        held = {p: self.moments.pop(p) for p in before.parameters() if p in self.moments}
        for old, new, origin in pairs(before, self.model, lineage):
            kept = held.get(old, {})
            if origin.kept and any(value.dim() and value.shape != old.shape for value in kept.values()):
                continue  # rows, columns, directions of a whole that is no more: they begin anew
            for key, value in kept.items():
                self.moments[new][key] = (origin.of(value) if value.shape == old.shape else value).clone()

    def advance(self) -> float | None:
        """One optimiser step; the loss it started from, or None where the batch asked nothing."""
        while self.phase < 0 or self.step >= self.phases[self.phase][1]:
            self.enter(self.phase + 1)
        steps = self.settings.steps
        self.rate = self.settings.lr * self.factor(self.step / steps, (self.step + 1) / steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * group.get("factor", 1.0)  # of a role: matrices of wide models, say
        batch = to_batch(self.sources[self.phase].next(self.step), self.settings.device)
        prepared = [each.prepare(batch, self._drawing(i)) for i, each in enumerate(self._minimised())]
        self.batch = prepared[0]
        loss = self._gradient(prepared)
        if loss is None:
            self.step += 1
            return None
        if not np.isfinite(loss):
            raise Diverged(f"the loss was {loss} at step {self.step}")
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.params.values(), self.settings.clip, foreach=True)
        self.optimiser.step()
        seen = self.spread.observed(self.watch.everything())
        self.model.update({path: seen[path] for path in seen.keys() - self.frozen})
        for each in self._minimised():
            each.after(self.model)
        self.step += 1
        return loss

    def settle(self) -> None:
        """The numbers that the run stands for, where its optimiser trains at others: `eval` puts them in place."""
        if self.phase >= 0 and hasattr(self.optimiser, "eval"):
            self.optimiser.eval()

    def _minimised(self) -> list[Any]:
        return [self.objective, *self.also]

    def _drawing(self, place: int) -> Draws:
        """Numbers in [0,1) for what an objective of this phase does to the batch of this step."""
        key, device = ("objective", self.settings.seed, self.step), torch.device(self.settings.device)
        return lambda name, shape: uniform((*key, *([place] if place else []), name), shape, device)

    def _gradient(self, batches: list[Batch]) -> float | None:
        """Gradients of the whole batch, in micro-batches that shrink where memory does not suffice.

        batches   the batch as each objective of the phase prepared it
        """
        rows = batches[0].tokens.shape[0]
        while True:
            self.optimiser.zero_grad(set_to_none=True)
            try:
                return self._accumulate(batches, self.micro or rows)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not out_of_memory(error) or (self.micro or rows) == 1 or self._couples() or self.spread.world > 1:
                    raise
                self.micro = ((self.micro or rows) + 1) // 2
                print(f"out of memory: the micro-batch is now {self.micro} of {rows} rows", flush=True)

    def _couples(self) -> bool:
        """Whether a batch must stay whole: rows depend on one another."""
        return any(part.couples for part in (*self._minimised(), *self.model.parts()))

    def _accumulate(self, batches: list[Batch], micro: int) -> float | None:
        minimised, batch, rows = self._minimised(), batches[0], batches[0].tokens.shape[0]
        with torch.no_grad():
            counts = [each.counts(own) for each, own in zip(minimised, batches)]
            shares = [{name: torch.where(n > 0, n, 1) for name, n in each.items()} for each in counts]  # 0 of 0 is 0
        if self._couples():
            micro = rows  # what one row is worth depends on all others
        total, self.watch, mine = 0.0, Watch(), self.spread.share(rows)
        for first in range(mine.start, mine.stop, micro):
            last = min(first + micro, mine.stop)
            pieces = batches if last - first == rows else [own.rows(slice(first, last)) for own in batches]
            moment = Moment(self.settings.seed, self.step, first, self.step / self.settings.steps)

            def summed(pieces: list[Batch] = pieces) -> Tensor:
                parts = [
                    weight * amount / share[name]
                    for each, piece, share in zip(minimised, pieces, shares)
                    for name, (amount, _, weight) in each(self.model, piece).items()
                ]
                penalty = self.watch.penalty()
                if penalty is not None:
                    parts.append(penalty if pieces is batches else penalty * (pieces[0].count / batch.count))
                return parts[0] if len(parts) == 1 else torch.stack(parts).sum()

            with self.spread.piece(last == mine.stop):
                how = arithmetic(self.settings.precision, self.settings.device)
                with self.model.training_at(moment, self.watch), how:
                    loss = self.spread.forward(summed)
                loss.backward()
            total += loss.item()
        total = self.spread.total(total)
        return total if any(float(count) > 0 for count in counts[0].values()) else None

    def identity(self) -> dict[str, Any]:
        """What a checkpoint continues: settings that change figures, fingerprints of all else; asked before step 0."""
        steps, batches = self.settings.steps, {}
        different = {id(source): source for source in reversed(self.sources)}  # that of the last phase comes first
        for place, source in enumerate(different.values()):
            for step in sorted({0, steps // 2, max(0, steps - 1)}):  # a source is known by some of its batches
                rows = source.next(step)
                arrays = {"ids": rows} if isinstance(rows, np.ndarray) else rows
                called = f"{place}.{step}" if place else f"{step}"
                batches |= {f"{called}.{i}": torch.from_numpy(values) for i, values in enumerate(arrays.values())}
        found = asdict(self.settings) | {"the system": f"{self.system.hash} {self.model.spec.hash}"}
        del found["save_seconds"]
        return found | {"the data": fingerprint(batches), WEIGHTS: fingerprint(self.owned())}

    def owned(self) -> dict[str, Tensor]:
        """What training changes, by path: parameters and buffers of the model and of every objective so far, and of
        what is kept for a restart."""
        modules = self._modules()
        modules |= {f"kept{first}.{name}": made for first, held in self.kept.items() for name, made in held.items()}
        return {
            f"{place}.{name}": tensor
            for place, module in modules.items()
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        }

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: all that is owned, and the moments of every parameter that was ever trained."""
        owned = self.owned()
        moments = {f"moment.{n}/{key}": m for n, p in owned.items() for key, m in self.moments.get(p, {}).items()}
        held = owned | moments
        return {name: self.spread.whole(held[name]) for name in sorted(held)}  # all processes in the same order

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Take up a run where its checkpoint stands: every phase is begun again, then its numbers are taken back."""
        self.step = facts["step"]
        for index in range(facts["phase"] + 1):
            self.enter(index)
        for name, value in self.owned().items():
            value.data.copy_(self.spread.like(tensors[name], value.data))
            moments = {key: m for key, m in tensors.items() if key.startswith(f"moment.{name}/")}
            if moments:
                self.moments[value] = {k.rpartition("/")[2]: self.spread.like(m, value) for k, m in moments.items()}


def out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def train(
    system: Spec, model: Model, source: Batches, settings: Settings, folder: Path | None = None,
    watch: Callable[[int, float], None] | None = None, *, own: Mapping[int, Batches] | None = None,
    look: Look | None = None, follow: Follow | None = None,
) -> Trained:  # fmt: skip
    """Train the model in place; where a phase transforms it, `model` of the result is another one.

    `watch(step, loss)` is told of every logged step. `own` has the batches of phases that train on rows of their own,
    by the place of the phase. `look(model, batch)` is asked a few times for figures of the model as a step left it,
    its gradients with it; they go to the log. `follow(line)` is told of every line of the log, first of those that were
    written before the run went on.

    With a folder the run leaves checkpoints and a log, goes on from its newest checkpoint, and is done at once where it
    was finished. A checkpoint of other settings, data, system or first weights is a `UsageError`.
    """
    run = Run(system, model, source, settings, own)
    journal = Journal(run, folder, follow)
    if run.spread.sharded or not run.spread.first:
        look = None
    status, reason = "finished", ""
    try:
        while run.step < settings.steps:
            journal.heard(run.advance())
            if run.step % settings.log_every and run.step != settings.steps:
                continue
            due = (
                look is not None
                and run.spread.first
                and not run.spread.sharded
                and run.step * LOOKS // settings.steps > journal.looked * LOOKS // settings.steps
            )
            point = journal.enter(journal.aside(look, run.model, run.batch) if look is not None and due else {})
            if point is not None and watch is not None:
                watch(*point)
            late = run.spread.agreed(time.perf_counter() - journal.saved > settings.save_seconds)
            if late and run.step < settings.steps:
                journal.save()
    except Diverged as error:
        status, reason = "failed", str(error)
    if settings.steps and not journal.curve and not reason:
        status, reason = "failed", "no batch asked for a prediction"
    seen = tuple(journal.curve), tuple(journal.inside)
    spent = journal.seconds
    if status == "finished":
        journal.save()
        run.settle()
    return Trained(status, reason, run.step, spent, *seen, run.spread.gathered(run.model))
