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
from blockyard.core.call import Call, Captures, Memory, Moment, Seen, gather, scatter
from blockyard.core.claims import together, unmet
from blockyard.core.errors import UsageError, unknown
from blockyard.core.flow import Flow
from blockyard.core.part import Part
from blockyard.core.random import fold
from blockyard.core.registry import KINDS, find
from blockyard.core.settings import checked
from blockyard.core.site import BuildContext, Site, Use
from blockyard.core.spec import Spec, matching_edits
from blockyard.core.state import State, tree_map
from blockyard.model.step import Passage, Step, like, with_captures, within
from blockyard.model.watch import Watch

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


class Model(nn.Module):
    """A model of a `spec` (not of a system), whose first numbers follow from `seed` and each tensor's path.

    `recompute` trades time for memory: a step's inner values are made again in backward. `inside`: where it stands
    as a tower of another model, whose records it is built into.
    """

    def __init__(self, spec: Spec, seed: int = 0, inside: Site | None = None) -> None:
        super().__init__()
        spec = checked(spec) if inside is None else spec
        self.spec, self._recompute = spec, False
        self._moment: Moment | None = None
        self._watch: Watch | None = None
        site = _site(spec, seed, inside)
        context = site.context
        assert isinstance(site.stream, Axis)
        self.stream, self.causal = site.stream, site.causal
        self.towers = nn.ModuleDict()
        for each in spec.get("towers", ()):
            self.towers[each.name] = Model(each["model"], seed, replace(site, path=site.child(f"towers.{each.name}")))
        site = replace(site, memory=tuple((name, _answer(name, tower)) for name, tower in self._towers()))
        blocks = {block.name: block for block in spec["blocks"]}
        self.depth = site.build("depth", spec["depth"], tuple(blocks))
        plan = self.depth.plan()
        site = replace(site, steps=sum(len(blocks[name]["steps"]) * loops for name, loops in plan))
        self.stem = site.build("stem", spec["stem"])
        site = replace(site, grid=self.stem.grid)
        self.steps = nn.ModuleList()
        site = self._build_steps(site, plan, blocks, spec["residual"])
        self.head = site.build("head", spec["head"])
        self.axes, self.uses = context.axes, tuple(context.uses)
        self.claims = self._promised()
        self.lead = self.stem.lead
        self._preparing = [part for part in self.own_parts() if type(part).prepare is not Part.prepare]
        if inside is None:
            _check(self, context, spec)

    def _build_steps(self, site: Site, plan: list[tuple[str, int]], blocks: dict[str, Spec], usual: Spec) -> Site:
        """Every step of the planned blocks, `usual` the rule of those that name none; the site behind the last one."""
        alike = Counter(part.name for name, _ in plan for part in blocks[name]["steps"])
        seen: Counter[str] = Counter()
        steps_of = []
        for name, loops in plan:
            parts, rule = blocks[name]["steps"], blocks[name].get("residual") or usual
            steps_of.append(tuple(range(len(self.steps), len(self.steps) + len(parts))))
            for part in parts:
                step = len(self.steps)
                path = site.child(f"steps.{step}")
                here = replace(site, path=path, step=step, ordinal=seen[part.name], alike=alike[part.name])
                seen[part.name] += 1
                if part.kind != "junction":
                    made = Step(here, part, rule)
                    self.steps.append(made)
                    if made.rule.wider is not None:
                        self._check_wider(made, loops)
                        site = replace(site, stream=made.rule.wider)
                    continue
                if loops > 1:
                    raise UsageError(f"{path}: block {name} runs {loops} times, and a junction runs once")
                passage = Passage(here, part)
                self.steps.append(passage)
                grid = site.grid if passage.part.grid is None else passage.part.grid
                site = replace(site, stream=passage.part.out or site.stream, grid=grid)
        self.depth.blocks = tuple(steps_of)
        return site

    def _check_wider(self, step: Step, loops: int) -> None:
        """A step that makes the stream wider runs once, and always."""
        name = f"{step.rule.path}: residual:{step.rule.spec.name}"
        if loops > 1:
            raise UsageError(f"{name} makes the stream wider, and its block runs {loops} times")
        if self.depth.runs() is not None:
            raise UsageError(f"{name} makes the stream wider, and depth:{self.depth.spec.name} may leave its block out")

    @property
    def of_ids(self) -> bool:
        """Whether rows of ids are all that it reads."""
        return self.stem.reads == "ids" and not self.towers

    @property
    def recompute(self) -> bool:
        """Whether a step's inner values are made again in backward, in towers too."""
        return self._recompute

    @recompute.setter
    def recompute(self, again: bool) -> None:
        self._recompute = again
        for _, tower in self._towers():
            tower.recompute = again

    def _towers(self) -> Iterator[tuple[str, "Model"]]:
        """The towers by name; `nn.ModuleDict` does not say what it holds."""
        for name, tower in self.towers.items():
            assert isinstance(tower, Model)
            yield name, tower

    def _promised(self) -> dict[str, Any]:
        """What this model's own parts promise together; of its towers only that rows are kept apart matters."""
        claims = together(self.own_parts())
        if not all(tower.claims.get("row_independent") for _, tower in self._towers()):
            claims.pop("row_independent", None)
        return claims

    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        """A batch of the right shape with about so many tokens a row; `draw`: a generator for its numbers."""
        batch = self.stem.example(rows, length, draw)
        read = {name: tower.example(rows, length, draw).tokens for name, tower in self._towers()}
        return replace(batch, more={**batch.more, **read}) if read else batch

    def init_state(self, rows: int = 1, *, int8_cache: bool = False) -> State:
        """The state before the first piece; attention may keep its keys and values in 8 bits."""
        return State.empty(rows, next(self.parameters()).device, int8_cache)

    def parts(self) -> list[Part]:
        """Every part of the model, those in slots and in towers included."""
        return [module for module in self.modules() if isinstance(module, Part)]

    def own_parts(self) -> list[Part]:
        """Every part but those of its towers."""
        theirs = {id(module) for module in self.towers.modules()}
        return [part for part in self.parts() if id(part) not in theirs]

    def require(self, claim: str, asker: str) -> None:
        """Refuse, in `asker`'s name, where not every part of this model keeps a claim."""
        if not self.claims.get(claim):
            raise unmet(claim, asker, self.own_parts())

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
        asked: dict[str, Any] = {} if points is None else {"points": self.resolve(points)}
        if self._moment is not None:
            run, tick, micro_batch, progress = self._moment
            late = None if self._watch is None else self._watch.late
            asked |= dict(
                seed=fold(run, seed) if seed else run, tick=tick, micro_batch=micro_batch, progress=progress, late=late
            )
        elif seed:
            asked["seed"] = seed
        return self._start(Batch.of(batch), state, asked)

    def _start(self, batch: Batch, state: State | None, asked: dict[str, Any]) -> Flow:
        """The same of a call with these fields, towers first."""
        if state is not None:
            self.require("streams", "a state")
        if batch.segment is not None:
            self.require("packs", "a packed batch")
        if batch.order is not None:
            self.require("any_order", "a batch with an order")
        if batch.readable is not None:
            self.require("any_order", "a batch in which some tokens are read by none")
        captures: Captures = {}
        memory = self.read_towers(batch, state, asked, captures) if self.towers else {}
        lead = self.lead if state is None or not state.positions.shape[1] else 0
        if lead:
            batch = batch.led(self.axes[f"{self.stem.path}.vocab"].size, lead)
        call, state = batch.call(state, causal=self.causal)
        if lead and state is not None:
            state = replace(state, lead=lead, length=state.length - lead)
        call = call._replace(memory=memory, step=-1, captures=captures, lead=lead, **asked)
        x, call, state = self._ends(self.stem, batch, call, state, "stem")
        call = call._replace(dtype=x.dtype)
        for part in self._preparing:
            part.prepare(call)
        return Flow(x, None, call._replace(step=0, captures=None), state, captures)

    def read_towers(
        self, batch: Batch, state: State | None = None, asked: Mapping[str, Any] | None = None,
        captures: Captures | None = None,
    ) -> dict[str, Memory]:  # fmt: skip
        """What the towers make of `batch.more[name]`, where `more["name.valid"]` counts, or of the batch's question.

        asked      fields of their calls        captures   where what is read in them goes
        """
        found = {}
        for name, tower in self._towers():
            theirs = self._read_by(name, batch)
            if theirs is None:
                continue
            if state is not None and state.positions.shape[1]:
                raise UsageError(f"what the tower {name} reads comes with the first piece, not with a later one")
            flow = tower._start(theirs, None, dict(asked or {}))
            said, flow = tower._said(tower.run(flow))
            found[name] = Memory(said["stream"], flow.call.valid)
            if captures is not None:
                captures |= flow.captures
        return found

    def _read_by(self, name: str, batch: Batch) -> Batch | None:
        """What a tower reads of a batch."""
        if name in batch.more:
            return Batch(batch.more[name], valid=batch.more.get(f"{name}.valid"))
        tower = next(each for each in self.spec["towers"] if each.name == name)
        if tower.get("question") and batch.targets is not None:
            return Batch(batch.tokens, valid=batch.before_targets())
        return None

    def blind(self, batch: Batch) -> Batch:
        """The batch without its targets, as it is scored: with what towers read of it, which targets may mark."""
        more = dict(batch.more)
        for name, _ in self._towers():
            theirs = self._read_by(name, batch)
            if theirs is not None:
                more[name] = theirs.tokens
                more |= {} if theirs.valid is None else {f"{name}.valid": theirs.valid}
        return replace(batch, targets=None, more=more)

    def run(self, flow: Flow, steps: Iterable[int] | None = None) -> Flow:
        """All steps as the depth program wills, or just these."""
        if steps is None:
            return self._all(flow, self._run)
        for step in steps:
            flow = self._run(flow, step)
        return flow

    def through(self, flow: Flow) -> list[Flow]:
        """The flows behind every block, each loop of one by itself, of one run: `finish` reads any of them.

        A block that does not run leaves the flow as it was. The last one is what `run` gives, and it alone has the
        captures: what parts leave on the way counts once.
        """
        met: dict[tuple[int, int], Flow] = {}

        def run(flow: Flow, step: int, loop: int = 0, **how: Any) -> Flow:
            met[step, loop] = done = self._run(flow, step, loop, **how)
            return done

        last, found, behind = self._all(flow, run), [], flow
        for steps, (_, loops) in zip(self.depth.blocks, self.depth.plan()):
            for loop in range(loops):
                behind = met.get((steps[-1], loop), behind)
                found.append(behind._replace(call=behind.call._replace(captures=None), captures={}))
        return [*found[:-1], last]

    def _all(self, flow: Flow, run: Any) -> Flow:
        """All steps as the depth program wills, each run by `run`."""
        captures: Captures = {}
        flow = self.depth(flow._replace(call=flow.call._replace(captures=captures)), run)
        return flow._replace(call=flow.call._replace(captures=None), captures=flow.captures | captures)

    def finish(self, flow: Flow, shown: Tensor | None = None) -> Out:
        """Predictions from the stream as it stands: of the next token, or of the next N where `shown` (B,T,N-1) has
        the ids of all but the last of them."""
        flow = flow.behind_lead()
        x = flow.x
        prediction, flow = self._said(flow, shown)
        return Out(prediction, x, flow.state, flow.captures if self._watch is None else self._watch.take(flow.captures))

    def _said(self, flow: Flow, shown: Tensor | None = None) -> tuple[dict[str, Tensor], Flow]:
        """What the head says of the stream as it stands, and the flow with what it kept and captured."""
        captures: Captures = {}
        flow = flow.behind_lead()
        call = flow.call._replace(step=len(self.steps), captures=captures)
        if shown is not None:
            prediction, *_ = self.head.ahead(flow._replace(call=call).x, shown, call)
            return prediction, flow._replace(captures=flow.captures | captures)
        prediction, _, state = self._ends(self.head, flow._replace(call=call).x, call, flow.state, "head")
        return prediction, flow._replace(state=state, captures=flow.captures | captures)

    def forward(self, batch: Batch | Tensor, state: State | None = None, **request: Any) -> Out:
        """All three: `request` is what `start` takes (points, seed)."""
        return self.finish(self.run(self.start(batch, state, **request)))

    def save(
        self, folder: Any, *, tokenizer: bytes | None = None, beside: Mapping[str, bytes] | None = None
    ) -> Any:  # fmt: skip
        """Write the model to a folder that `blockyard.load` reads.

        tokenizer   the content of a tokenizer.json        beside   other files by name, as `by.text_files` gives them
        """
        from blockyard.model.save import save_model

        return save_model(self, folder, tokenizer=tokenizer, beside=beside)

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
        elif self._recompute and torch.is_grad_enabled():
            carry, leaves, again = checkpoint(with_captures, unit, carry, call, leaves, use_reentrant=False)
            captured |= again
        else:
            carry, leaves = unit(carry, call, leaves)
        if tokens is not None:
            carry = within(lambda y, old: scatter(y, tokens, old), carry, flow.carry, unit.rule)
        if active is not None:
            carry = within(lambda y, old: torch.where(like(active, y), y, old), carry, flow.carry, unit.rule)
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


def _site(spec: Spec, seed: int, inside: Site | None) -> Site:
    """Where the parts of a model stand: in records of their own, or as a tower in those of the model around it."""
    root = "" if inside is None else inside.path
    if inside is None:
        context = BuildContext(seed, spec.get("linear") or Spec("linear", "dense"), spec.get("edits", ()))
    else:
        context = inside.context
        if spec.get("edits") or spec.get("linear") not in (None, context.linear):
            raise UsageError(f"{root}: a tower has the edits and the kind of projection of the model around it")
    edits = matching_edits(context.edits, root) if root else []
    context.matched_edits.update(edits)
    sizes = {key: value for edit in edits for key, value in edit.settings}
    stream = Axis("stream", sizes.get("axes.stream", spec["dim"]))
    context.axes[f"{root}.stream" if root else "stream"] = stream
    length = spec.get("length") or 1024
    return Site(root, stream, context, causal=spec.get("causal", True), length=length, root=root)


def _answer(name: str, tower: Model) -> Any:
    """The axis of what a tower gives to be read."""
    if tower.head.says != "stream":
        head = tower.head
        raise UsageError(f"towers.{name}: head:{head.spec.name} gives {head.says}, and what is read is head:stream's")
    return tower.head.stream


def _check(model: Model, context: BuildContext, spec: Spec) -> None:
    """Every owned tensor has its record, every record its tensor, every edit its module."""
    owned = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    recorded = {use.path for use in context.uses if not use.kept}
    if owned != recorded:
        raise RuntimeError(f"parameters made without the site's factories, or never kept: {owned ^ recorded}")
    served = [sublayer for step in model.modules() if isinstance(step, Step) for sublayer in _bases(step.part)]
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
