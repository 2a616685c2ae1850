"""What a model costs before anything is spent: parameters, operations, memory and state, counted on the meta device.

A multiply-add is two operations; matrix products are counted as they run, the library's kernels by their closed
forms, norms and activations not at all. Backward costs twice the forward. Of a system the model is counted that comes
out of its program, and its training phase by phase.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from blockyard.core import registry
from blockyard.core.call import Moment
from blockyard.core.spec import Spec, objectives, restarts
from blockyard.core.state import State
from blockyard.model.lineage import transformed
from blockyard.model.model import Model, build

POINTS = 8  # at which a phase is looked at where a forward costs more at one time of training than at another


@dataclass(frozen=True)
class Count:
    """What a system costs at one shape.

    params, body_params                 numbers that it learns, and those of them outside vocabulary tables
    flops_per_token                     operations of a forward; a multiply-add is two
    activation_bytes, training_bytes    bytes kept for backward, and those with weights, gradients and the optimiser
    """

    params: int
    body_params: int
    flops_per_token: float
    activation_bytes: int
    training_bytes: int


def on_meta(spec: Spec) -> Model:
    """The model without its numbers: shapes, axes and records only, in no memory."""
    with torch.device("meta"):
        return build(spec)


def stages(spec: Spec) -> list[Model]:
    """The model of every phase of a system, on the meta device; of a model itself alone."""
    model = on_meta(spec)
    made: list[Model] = []
    program: tuple[Spec, ...] = spec["program"] if spec.kind == "system" else ()
    for phase, first in zip(program, restarts(program)):
        model = model if first is None else made[first]
        for transform in phase.get("apply", ()):
            model, _ = transformed(model, transform)
        made.append(model)
    return made or [model]


@lru_cache(1024)
def count_params(spec: Spec) -> int:
    """How many numbers the model learns; shared ones once."""
    return sum(p.numel() for p in stages(spec)[-1].parameters())


def numbers(model: Model, *, tables: bool = True) -> int:
    """How many numbers a model holds, whatever they are kept in; shared ones once.

    tables   whether those by the ids of the vocabulary count too
    """
    vocab = model.axes.get("stem.vocab")
    packed = {}
    for part in model.parts():  # a matrix in few bits is no parameter any more
        if (store := getattr(part, "store", None)) is not None and getattr(store, "rows", None) is not None:
            packed[id(store)] = 0 if store.rows is vocab and not tables else store.rows.size * store.columns.size
    named = {use.path for use in model.uses if vocab is not None and any(axis is vocab for axis in use.axes)}
    learnt = sum(p.numel() for name, p in model.named_parameters() if tables or name not in named)
    return learnt + sum(packed.values())


def stored_bytes(model: Model) -> int:
    """Bytes of what a saved model keeps: parameters and buffers, each once."""
    kept = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in kept.values())


def count(what: Spec | Model, length: int, batch: int = 1, optimiser: Spec | None = None) -> Count:
    """What a system costs, before anything is allocated: in float32, with gradients and what its optimiser keeps.

    what   a model or a system, or a model on the meta device        length   tokens a row
    batch   rows a training step                                  optimiser   none: the system's own, else two moments
    """
    if optimiser is None and isinstance(what, Spec) and what.kind == "system":
        optimiser = what.get("optimiser")
    model = what if isinstance(what, Model) else stages(what)[-1]
    params = sum(p.numel() for p in model.parameters())
    tables = {use.path for use in model.uses if any(axis is model.axes.get("stem.vocab") for axis in use.axes)}
    body = params - sum(p.numel() for name, p in model.named_parameters() if name in tables)
    saved = _saved_bytes(model, length, batch)
    kept = 8 * params + optimiser_bytes(model, optimiser)
    return Count(params, body, count_flops(model, length) / length, saved, saved + kept)


def optimiser_bytes(model: Model, optimiser: Spec | None) -> int:
    """Bytes that an optimiser keeps beside the parameters: two moments of each, or what its file counts (`held`)."""
    params = dict(model.named_parameters())
    held = None if optimiser is None else getattr(registry.find("optimiser", optimiser.name).load(), "held", None)
    if optimiser is None or held is None:
        return 8 * sum(p.numel() for p in params.values())
    return 4 * held(model, params, **dict(optimiser.settings))


def count_flops(model: Model, length: int, steps: Iterable[int] | None = None) -> int:
    """Forward operations of one row of `length` tokens, of all steps or of these; `model` is on the meta device."""
    from blockyard import kernels

    with FlopCounterMode(display=False) as products, kernels.count_flops() as tally, torch.no_grad(), _on_meta():
        model.finish(model.run(model.start(model.example(1, length)), steps))
    return products.get_total_flops() + sum(tally.values())


def training_flops(system: Spec, length: int, made: Sequence[Model] = ()) -> float:
    """Operations a token of training, the mean over its program: forward and backward of the model that a phase trains,
    and the forwards that its objectives make beside. A row of a phase whose rows are of another length counts as one
    of `length` tokens. `made` has the models of the phases where they are at hand: `stages(system)`."""
    phases = system["program"]
    whole, before, total = sum(phase["share"] for phase in phases), 0.0, 0.0
    for phase, model in zip(phases, made or stages(system)):
        share = phase["share"] / whole
        times = [before + share * (i + 0.5) / POINTS for i in range(POINTS)]
        tokens = phase.get("length") or length
        ends = [_at(model, tokens, time) for time in (times[0], times[-1])]
        forward = ends[0] if ends[0] == ends[1] else sum(_at(model, tokens, time) for time in times) / POINTS
        found = [(registry.find("objective", each.name).load_named(), each) for each in objectives(phase)]
        total += share * (3 + sum(made.forwards for made, _ in found)) * forward
        if early := sum(made.speaks(dict(each.settings)) for made, each in found):
            total += share * 3 * early * count_flops(model, tokens, ())
        before += share
    return total / length


def _at(model: Model, length: int, progress: float) -> float:
    """Operations of a forward of training at this share of it, the mean where its blocks are drawn."""
    with model.training_at(Moment(0, 0, 0, progress)):
        runs = model.depth.runs()
        if runs is None:
            return count_flops(model, length)
        ends = count_flops(model, length, ())
        blocks = zip(runs, model.depth.blocks)
        return ends + sum(mean * (count_flops(model, length, steps) - ends) for mean, steps in blocks)


def state_bytes(what: Spec | Model, length: int, dtype: torch.dtype = torch.float32) -> int:
    """Bytes that one row's state holds after `length` tokens, for a model of this precision.

    what   a model or a system, or a model on the meta device, in its own precision
    """
    from blockyard import kernels

    model = what if isinstance(what, Model) else stages(what)[-1].to(dtype)
    state: State | None = model.init_state(1)
    with torch.no_grad(), _on_meta(), kernels.count_flops():
        state = model(model.example(1, length), state).state
    assert state is not None
    return state.nbytes


def _on_meta() -> Any:
    return torch.device("meta")


def _saved_bytes(model: Model, length: int, batch: int) -> int:
    """Bytes that autograd keeps between forward and backward, the logits' loss included."""
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        store = x.untyped_storage()
        if store._cdata not in own:
            alive.append(store)  # an address may be used again once its storage is gone
            kept[store._cdata] = store.nbytes()
        return x

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), _on_meta():
        said = model(model.example(batch, length)).prediction
        if "logits" in said:
            logits = said["logits"].flatten(0, -2)
            torch.nn.functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
    return sum(kept.values())
