"""Take steps out of a model, with their norms and residual rules: what is left runs on as it was.

    x_1 -> step_1 -> step_2 -> step_3 -> y        steps=(2)        x_1 -> step_1 -> step_3 -> y

Steps are sublayers, counted from 0 in the order in which they run; a cache has room for the steps that are left.

Source   none
Family   pruners
Differs  nothing known
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Places
from blockyard.core.spec import Spec, block, matching_edits
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill
from blockyard.model.step import Step
from blockyard.transform._base import Applied, Transform


class Cut(Transform):
    example = dict(steps=(1,))

    def __init__(self, *, steps: Annotated[Places, "the steps that go, counted from 0"]) -> None:
        self.steps = steps

    def plan(self, model: Model) -> dict[str, str]:
        check_steps(model, self.steps)
        return {f"steps.{step}": f"removed ({named(model, step)})" for step in sorted(set(self.steps))}

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        return without(model, self.steps)


def named(model: Model, step: int) -> str:
    """What part a step holds, as kind:name."""
    return f"{spec_of(model, step).kind}:{spec_of(model, step).name}"


def spec_of(model: Model, step: int) -> Spec:
    """The spec of the part that a step holds."""
    held: Any = model.steps[step]
    return held.part.spec


def check_steps(model: Model, steps: Collection[int]) -> None:
    """Refuse to remove what is not there, what others depend on, or everything."""
    count = len(model.steps)
    if any(step >= count for step in steps) or not steps:
        raise UsageError(f"the model has steps 0 to {count - 1}; {', '.join(map(str, steps)) or 'none'} cannot be cut")
    if len(set(steps)) == count:
        raise UsageError("at least one step must stay")
    if any(spec_of(model, step).kind == "junction" for step in steps):
        raise UsageError("a junction cannot be cut: what comes after it stands on it")
    if any(isinstance(unit, Step) and unit.rule.wider is not None for unit in model.steps):
        raise UsageError("no step can be cut where each makes the stream wider: what comes after stands on that")
    model.depth.laid(("x",))  # refused by a program that decides what runs when


def without(model: Model, steps: Collection[int]) -> Applied:
    """The model less some steps."""
    check_steps(model, steps)
    stays = [step for step in range(len(model.steps)) if step not in set(steps)]
    tensors = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    with torch.device("meta"):
        made = build(_spec(model, stays))
    moved: Lineage = {}
    held = {}
    for name in [*dict(made.named_parameters()), *dict(made.named_buffers())]:
        before = _renumbered(name, dict(enumerate(stays)))
        held[name] = tensors[before].detach()
        if before != name:
            moved[name] = Origin(before)
    _fits(made, held, moved)
    gone = {f"steps.{step}": f"removed ({named(model, step)})" for step in sorted(set(steps))}
    left = tuple(f"steps.{step}" for step in stays)
    return Applied(
        fill(made, held, next(model.parameters()).device), gone, left, {"steps_left": len(stays)}, lineage=moved
    )


def _spec(model: Model, stays: list[int]) -> Spec:
    """The spec with these steps only; blocks of equal steps share a name."""
    known = {each.name: each for each in model.spec["blocks"]}
    blocks: dict[str, Spec] = {}
    names = []
    for (name, _), steps in zip(model.depth.plan(), model.depth.blocks):
        kept = [i for i, step in enumerate(steps) if step in stays]
        if not kept:
            continue
        whole = len(kept) == len(steps)
        called = name if whole else "_".join([name, *map(str, kept)])
        parts = tuple(known[name]["steps"][i] for i in kept)
        blocks[called] = known[name] if whole else block(called, *parts, residual=known[name].get("residual"))
        names.append(called)
    places = {before: now for now, before in enumerate(stays)}
    edits = [_edit(edit, places, model) for edit in model.spec.get("edits", ())]
    changed = dict(blocks=tuple(blocks.values()), depth=model.depth.laid(tuple(names)))
    if edits:
        changed["edits"] = tuple(edit for edit in edits if edit is not None)
    return model.spec.but(**changed)


def _edit(edit: Spec, places: dict[int, int], model: Model) -> Spec | None:
    """An edit at the place where its module stands now; None where that is gone."""
    kept = [part.path for part in model.parts() if _step(part.path) is None or _step(part.path) in places]
    if not any(matching_edits((edit,), path) for path in kept):
        return None
    step = _step(edit.name)
    return edit if step is None else replace(edit, name=_renumbered(edit.name, places))


def _step(path: str) -> int | None:
    """The step that a path lies in; None where it lies in none, or stands for several."""
    first, _, rest = path.partition(".")
    number = rest.partition(".")[0]
    return int(number) if first == "steps" and number.isdigit() else None


def _renumbered(path: str, places: dict[int, int]) -> str:
    step = _step(path)
    return path if step is None else ".".join(["steps", str(places[step]), *path.split(".")[2:]])


def _fits(made: Model, held: dict[str, Tensor], moved: Lineage) -> None:
    """Refuse where a tensor that steps share has a place for each of them."""
    for name, tensor in [*made.named_parameters(), *made.named_buffers()]:
        if tensor.shape != held[name].shape:
            raise UsageError(
                f"{moved.get(name, Origin(name)).path} has a place for each of the steps that share it: none can be cut"
            )
