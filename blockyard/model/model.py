"""The one body: a stem, steps behind residual rules, a depth program that runs them, a head.

    flow = model.start(batch, state);  flow = model.run(flow);  out = model.finish(flow)

`model(batch)` is these three. A flow is immutable, so it can be stopped, looked at, and run on another way.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from blockyard.core.axis import Axis
from blockyard.core.batch import Batch
from blockyard.core.call import Call, Captures, Moment, Penalty, Seen, gather, scatter
from blockyard.core.claims import together, unmet
from blockyard.core.errors import UsageError, unknown
from blockyard.core.flow import Flow
from blockyard.core.part import Part
from blockyard.core.random import fold
from blockyard.core.registry import KINDS, find
from blockyard.core.settings import checked
from blockyard.core.site import BuildContext, Site, Use
from blockyard.core.spec import Spec
from blockyard.core.state import State, tree_map

Points = Mapping[str, Any]


@dataclass(frozen=True)
class Out:
    """What a forward gives.

    prediction   what the head says, by name: `logits` (B,T,V)        hidden   the stream (B,T,D) that it read
    state        after the batch; None where none was given
    captures     values of hook points by (step, loop, path, name); the stem is step -1, the head the last
    """

    prediction: dict[str, Tensor]
    hidden: Tensor
    state: State | None
    captures: Captures

    @property
    def logits(self) -> Tensor:
        """(B,T,V) scores of the next token, of the prediction `logits`."""
        if "logits" not in self.prediction:
            raise UsageError(f"this head predicts {', '.join(self.prediction)}, and no logits")
        return self.prediction["logits"]


class Watch:
    """What the forwards of an optimiser step leave beside their predictions: sums that parts keep, and penalties."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, Seen]] = {}
        self.penalties: list[Tensor] = []
        self.late: dict[tuple[Any, ...], Seen] = {}

    def take(self, captures: Captures) -> Captures:
        """The captures without what is kept here."""
        plain = {}
        for key, value in captures.items():
            if isinstance(value, Seen):
                self._see(key[2], key[3].partition(":")[2], value)
            elif isinstance(value, Penalty):
                self.penalties.append(value.loss)
            else:
                plain[key] = value
        return plain

    def penalty(self) -> Tensor | None:
        """The penalties since this was last asked, summed."""
        losses, self.penalties = self.penalties, []
        return torch.stack(losses).sum() if losses else None

    def everything(self) -> dict[str, dict[str, Seen]]:
        """All that was observed, by path and name, what backward has left included."""
        for (path, *_, name), value in self.late.items():
            self._see(path, name, value)
        self.late.clear()
        return self.seen

    def _see(self, path: str, name: str, value: Seen) -> None:
        mine = self.seen.setdefault(path, {})
        mine[name] = mine[name] + value if name in mine else value


class Step(nn.Module):
    """One sublayer behind one residual rule."""

    def __init__(self, site: Site, part: Spec, rule: Spec) -> None:
        super().__init__()
        self.rule = site.build("rule", rule)
        self.part = site.build("part", part)

    def forward(self, carry: Any, call: Call, state: Any) -> tuple[Any, Any]:
        """The carry and the leaves after this step."""
        y, state = self.part(self._read(carry, call), call, state)
        return self.rule.write(carry, y, call), state

    def _read(self, carry: Any, call: Call) -> Any:
        """What the sublayer reads at its ports: the stream as it stands, all else as the rule says."""
        ports = self.part.ports
        if "stream" not in ports:
            return self.rule.read(carry, ports, call)
        others = tuple(port for port in ports if port != "stream")
        read = self.rule.read(carry, others, call)
        given = dict(zip(others, read if len(others) > 1 else (read,)), stream=self.rule.flush(carry, call))
        return tuple(given[port] for port in ports)


class Passage(nn.Module):
    """A junction between steps: the flow is flushed, and goes on as the junction says."""

    def __init__(self, site: Site, part: Spec) -> None:
        super().__init__()
        self.part: Any = site.build("part", part)

    def forward(self, x: Tensor, call: Call, state: Any) -> tuple[Tensor, Call, Any]:
        """The stream, the call and the leaves from here on."""
        return self.part(x, call, state)


class Model(nn.Module):
    """A model of a `spec` (not of a system), whose first numbers follow from `seed` and each tensor's path.

    `recompute` trades time for memory: a step's inner values are made again in backward.
    """

    def __init__(self, spec: Spec, seed: int = 0) -> None:
        super().__init__()
        spec = checked(spec)
        self.spec, self.recompute = spec, False
        self._moment: Moment | None = None
        self._watch: Watch | None = None
        context = BuildContext(seed, spec.get("linear") or Spec("linear", "dense"), spec.get("edits", ()))
        self.stream = Axis("stream", spec["dim"])
        context.axes["stream"] = self.stream
        site = Site("", self.stream, context, causal=spec.get("causal", True), length=spec.get("length") or 1024)
        self.causal = site.causal
        blocks = {block.name: block for block in spec["blocks"]}
        self.depth = site.build("depth", spec["depth"], tuple(blocks))
        plan = self.depth.plan()
        site = replace(site, steps=sum(len(blocks[name]["steps"]) * loops for name, loops in plan))
        alike = Counter(part.name for name, _ in plan for part in blocks[name]["steps"])
        self.stem = site.build("stem", spec["stem"])
        site = replace(site, grid=self.stem.grid)
        self.steps, steps_of = nn.ModuleList(), []
        seen: Counter[str] = Counter()
        for name, loops in plan:
            rule = blocks[name].get("residual") or spec["residual"]
            steps_of.append(tuple(range(len(self.steps), len(self.steps) + len(blocks[name]["steps"]))))
            for part in blocks[name]["steps"]:
                index = len(self.steps)
                here = replace(site, path=f"steps.{index}", step=index, ordinal=seen[part.name], alike=alike[part.name])
                seen[part.name] += 1
                if part.kind == "junction":
                    if loops > 1:
                        raise UsageError(f"{here.path}: block {name} runs {loops} times, and a junction runs once")
                    passage = Passage(here, part)
                    self.steps.append(passage)
                    grid = site.grid if passage.part.grid is None else passage.part.grid
                    site = replace(site, stream=passage.part.out or site.stream, grid=grid)
                else:
                    self.steps.append(Step(here, part, rule))
        self.depth.blocks = tuple(steps_of)
        self.head = site.build("head", spec["head"])
        self.axes, self.uses = context.axes, tuple(context.uses)
        self.claims = together(self.parts())
        self._preparing = [m for m in self.modules() if isinstance(m, Part) and type(m).prepare is not Part.prepare]
        _check(self, context, spec)

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        """A batch of the right shape with about so many tokens a row; `draw`: a generator for its numbers."""
        return self.stem.example(rows, length, draw)

    def init_state(self, rows: int = 1, *, int8_cache: bool = False) -> State:
        """The state before the first piece; attention may keep its keys and values in 8 bits."""
        return State.empty(rows, next(self.parameters()).device, int8_cache)

    def parts(self) -> list[Part]:
        """Every part of the model, those in slots included."""
        return [module for module in self.modules() if isinstance(module, Part)]

    def require(self, claim: str, asker: str) -> None:
        """Refuse, in `asker`'s name, where not every part of this model keeps a claim."""
        if not self.claims.get(claim):
            raise unmet(claim, asker, self.parts())

    @contextmanager
    def training_at(self, moment: Moment, watch: Watch | None = None) -> Iterator[Watch]:
        """Every forward inside draws the random numbers of this moment, whoever calls it; outside nothing trains.

        What parts observe and penalise on the way is left with the watch.
        """
        before = self._moment, self._watch
        self._moment, self._watch = moment, watch or Watch()
        try:
            yield self._watch
        finally:
            self._moment, self._watch = before

    @torch.no_grad()
    def update(self, seen: Mapping[str, Mapping[str, Seen]]) -> None:
        """What parts have observed in an optimiser step, by path and name, becomes what they keep."""
        for part in self.parts():
            if part.path in seen:
                part.update(seen[part.path])

    def start(
        self, batch: Batch | Tensor, state: State | None = None, *, points: Points | None = None, seed: int = 0
    ) -> Flow:
        """The flow in front of the first step: positions counted, tokens embedded, the memo filled.

        `seed` gives a forward random numbers of its own, beside others of the same moment of training.
        """
        batch = Batch.of(batch)
        if state is not None:
            self.require("streams", "a state")
        if batch.segment is not None:
            self.require("packs", "a packed batch")
        if batch.order is not None:
            self.require("any_order", "a batch with an order")
        call, state = batch.call(state, causal=self.causal)
        if points is not None:
            call = call._replace(points=self.resolve(points))
        if self._moment is not None:
            run, tick, micro_batch, progress = self._moment
            late = None if self._watch is None else self._watch.late
            call = call._replace(
                seed=fold(run, seed) if seed else run, tick=tick, micro_batch=micro_batch, progress=progress, late=late
            )
        elif seed:
            call = call._replace(seed=seed)
        captures: Captures = {}
        x, call, state = self._ends(self.stem, batch, call._replace(step=-1, captures=captures), state, "stem")
        call = call._replace(dtype=x.dtype)
        for part in self._preparing:
            part.prepare(call)
        return Flow(x, None, call._replace(step=0, captures=None), state, captures)

    def run(self, flow: Flow, steps: Iterable[int] | None = None) -> Flow:
        """All steps as the depth program wills, or just these."""
        if steps is None:
            captures: Captures = {}
            flow = self.depth(flow._replace(call=flow.call._replace(captures=captures)), self._run)
            return flow._replace(call=flow.call._replace(captures=None), captures=flow.captures | captures)
        for step in steps:
            flow = self._run(flow, step)
        return flow

    def finish(self, flow: Flow) -> Out:
        """Predictions from the stream as it stands."""
        captures: Captures = {}
        flow = flow._replace(call=flow.call._replace(step=len(self.steps), captures=captures))
        x = flow.x
        prediction, _, state = self._ends(self.head, x, flow.call, flow.state, "head")
        captures = flow.captures | captures
        return Out(prediction, x, state, captures if self._watch is None else self._watch.take(captures))

    def forward(self, batch: Batch | Tensor, state: State | None = None, **request: Any) -> Out:
        """All three: `request` is what `start` takes (points, seed)."""
        return self.finish(self.run(self.start(batch, state, **request)))

    def save(self, folder: Any, *, tokenizer: bytes | None = None) -> Any:
        """Write the model to a folder that `blockyard.load` reads."""
        from blockyard.model.save import save_model

        return save_model(self, folder, tokenizer=tokenizer)

    def resolve(self, points: Points) -> dict[tuple[str, str], Any]:
        """Requests such as {"steps.*.part:context": "read"} by exact path and name; a function replaces."""
        declared = {(m.path, name) for m in self.modules() if isinstance(m, Part) for name in m.points}
        found: dict[tuple[str, str], Any] = {}
        for pattern, action in points.items():
            asked = {key: action for key in declared if fnmatchcase(":".join(key), pattern)}
            if not asked:
                raise unknown("hook point", pattern, {":".join(key) for key in declared})
            found |= asked
        return found

    def _ends(self, part: Part, value: Any, call: Call, state: State | None, address: str) -> tuple[Any, Call, Any]:
        leaves = None if state is None else state.get(address)
        y, call, leaves = part(value, call, leaves)
        return y, call, state.put(address, leaves) if state is not None and leaves else state

    def _run(
        self, flow: Flow, step: int, loop: int = 0, *, tokens: Tensor | None = None, active: Tensor | None = None,
        grad: bool = True,
    ) -> Flow:  # fmt: skip
        """One step. `tokens` (R,K): run on these flat positions only; `active` (B,T): write only there."""
        unit, before = self.steps[step], flow.call
        if isinstance(unit, Passage):
            if tokens is not None or active is not None:
                raise UsageError(f"{unit.part.path}: a junction runs on all tokens")
            return self._pass(unit, flow, step, loop)
        captured: Captures = {}
        flow = flow._replace(call=before._replace(step=step, loop=loop, captures=captured)).under(unit.rule)
        call, state = flow.call, flow.state
        leaves = None if state is None else state.get((step, loop))
        carry = flow.carry
        if tokens is not None:
            if state is not None:
                raise UsageError("a step on some tokens keeps no state")
            call, carry = call.regroup(tokens), tree_map(lambda x: gather(x, tokens), carry)
        if not grad:
            with torch.no_grad():
                carry, leaves = unit(carry, call, leaves)
        elif self.recompute and torch.is_grad_enabled():
            carry, leaves, again = checkpoint(_captured, unit, carry, call, leaves, use_reentrant=False)
            captured |= again
        else:
            carry, leaves = unit(carry, call, leaves)
        if tokens is not None:
            carry = _within(lambda y, old: scatter(y, tokens, old), carry, flow.carry, unit.rule)
        if active is not None:
            carry = _within(lambda y, old: torch.where(_like(active, y), y, old), carry, flow.carry, unit.rule)
        state = state.put((step, loop), leaves) if state is not None and leaves else state
        return flow._replace(carry=carry, call=before, state=state, captures=flow.captures | captured)

    def _pass(self, unit: Passage, flow: Flow, step: int, loop: int) -> Flow:
        """A junction: where it lays tokens anew, what the next steps share is made anew for them."""
        captured: Captures = {}
        leaves = None if flow.state is None else flow.state.get((step, loop))
        x, call, leaves = unit(flow.x, flow.call._replace(step=step, loop=loop, captures=captured), leaves)
        state = flow.state.put((step, loop), leaves) if flow.state is not None and leaves else flow.state
        call = call._replace(captures=flow.call.captures)
        if call.memo is not flow.call.memo:  # the tokens were laid anew
            for part in self._preparing:
                part.prepare(call)
        return flow._replace(carry=x, rule=None, call=call, state=state, captures=flow.captures | captured)


def _captured(unit: Step, carry: Any, call: Call, leaves: Any) -> tuple[Any, Any, Captures]:
    """A step that returns its captures, so that a recomputation throws its own away."""
    captures: Captures = {}
    carry, leaves = unit(carry, call._replace(captures=captures), leaves)
    return carry, leaves, captures


def _like(rows: Tensor, x: Tensor) -> Tensor:
    return rows.reshape(*rows.shape, *[1] * (x.dim() - 2))


def _within(fn: Any, new: Any, old: Any, rule: Any) -> Any:
    """The carry with what a step wrote for some tokens: the others keep what they had, so there must be something."""

    def written(y: Tensor, before: Tensor) -> Tensor:
        if y.shape[2:] != before.shape[2:]:
            raise ValueError("this tensor has another shape")
        return fn(y, before)

    try:
        return tree_map(written, new, old)
    except ValueError:
        raise UsageError(
            f"{rule.path}: residual:{rule.spec.name} changes the shape of its carry; such a step runs on all tokens"
        ) from None


def _check(model: Model, context: BuildContext, spec: Spec) -> None:
    """Every owned tensor has its record, every record its tensor, every edit its module."""
    owned = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    recorded = {use.path for use in context.uses if not use.kept}
    if owned != recorded:
        raise RuntimeError(f"parameters made without the site's factories, or never kept: {owned ^ recorded}")
    served = [sublayer for step in model.steps if isinstance(step, Step) for sublayer in _bases(step.part)]
    for part in model.parts():
        if "stream" in part.ports and part not in served:
            name = f"{part.spec.kind}:{part.spec.name}"
            raise UsageError(f"{part.path}: {name} reads the stream itself, which only the sublayer of a step can")
    for edit in set(spec.get("edits", ())) - context.matched_edits:
        raise unknown("module in an edit", edit.name, {m.path for m in model.modules() if isinstance(m, Part)})


def _bases(part: Part) -> list[Part]:
    """A part, and where it was attached to another one that one, and so on."""
    return [part, *_bases(getattr(part, part.attached_to))] if part.attached_to else [part]


def build(spec: Spec, seed: int = 0) -> Model:
    """The model of a spec (of a system: its model), with float32 parameters that depend on (seed, path) only."""
    return Model(spec["model"] if spec.kind == "system" else spec, seed)


def make(name: str, *, dim: int, seed: int = 0, causal: bool = True, **settings: Any) -> Part:
    """One part by itself: `make("mixer:gla", dim=64, heads=4)`.

    name       kind:name, as `blockyard list KIND` says them        dim       channels of the stream
    settings   those of the part: `blockyard show mixer:gla`        seed      its first numbers follow from it
    causal     False: a token sees all others; refused by parts that do not claim `bidirectional`
    """
    kind, _, part = name.partition(":")
    if kind not in KINDS or not part:
        raise unknown("kind of part", kind, KINDS)
    site = Site("", Axis("stream", dim), BuildContext(seed, Spec("linear", "dense")), causal=causal)
    made = site.build("part", Spec.of(kind, find(kind, part).name, settings))
    made.uses = tuple(site.context.uses)
    return made


__all__ = ["Model", "Out", "Step", "Use", "build", "make"]
