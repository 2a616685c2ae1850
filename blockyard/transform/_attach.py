"""What transforms that attach something share: which parts are meant, and what is said of what was done."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from blockyard.core.errors import UsageError
from blockyard.core.part import Part
from blockyard.core.spec import Spec, linear
from blockyard.model.attach import attach, attached, attachments, seat
from blockyard.model.model import Model
from blockyard.model.save import stored
from blockyard.transform._base import Applied, matches


def outermost(parts: list[Any]) -> list[Any]:
    """Those of these parts that stand in no other of them."""
    paths = {part.path for part in parts}

    def inside(part: Part) -> bool:
        words = part.path.split(".")
        return any(".".join(words[:n]) in paths for n in range(1, len(words)))

    return [part for part in parts if not inside(part)]


def meant(parts: list[Any], on: Sequence[str], asker: str, what: str) -> list[Any]:
    """Those of these parts that a pattern means; a pattern that means none of them is refused."""
    for pattern in on:
        if not any(matches(part.path, (pattern,)) for part in parts):
            known = ", ".join(part.path for part in parts[:6]) or "none"
            raise UsageError(f"{asker}: no {what} stands at {pattern}; among them are {known}")
    return [part for part in parts if matches(part.path, on)]


def projections(model: Model) -> list[Any]:
    """The projections inside the steps, those that stand in no other."""
    return outermost([part for part in model.parts() if part.spec.kind == "linear"])


class OnProjections:
    """One kind of attachment on every projection that is meant: its settings as far as they are said, and its words."""

    def __init__(self, kind: str, words: str, on: Sequence[str], seed: int, **settings: Any) -> None:
        self.spec = linear(kind, **{name: value for name, value in settings.items() if value is not None})
        self.words, self.on, self.seed = words, on, seed

    def plan(self, model: Model) -> dict[str, str]:
        """The words of each place."""
        return dict.fromkeys(self._where(model), self.words)

    def apply(self, model: Model) -> Applied:
        """The model with it."""
        return put(model, self._where(model), self.words, self.seed, len(projections(model)), "projections")

    def _where(self, model: Model) -> dict[str, Spec]:
        return {part.path: self.spec for part in meant(projections(model), self.on, self.spec.name, "projection")}


def put(model: Model, where: Mapping[str, Spec], words: str, seed: int, of: int, what: str) -> Applied:
    """The model with something attached at these paths, in these words; `of` so many `what` there are."""
    made, lineage = attach(model, where, seed)
    names, held = attached(made), stored(made)
    new = sum(held[name].numel() for name in names) - sum(stored(model)[name].numel() for name in attached(model))
    whole = sum(tensor.numel() for tensor in held.values())
    report = {"attached": new, "share": new / max(1, whole - new), "of": of, "what": what}
    return Applied(made, dict.fromkeys(where, words), report=report, lineage=lineage)


def taken_off(model: Model, on: tuple[str, ...], asker: str) -> dict[str, Part]:
    """The attachments whose place, as the model has it without any, is meant by a pattern."""
    every = attachments(model)
    found = {part.path: part for part in every if matches(seat(part, every), on) or matches(part.path, on)}
    if not found:
        raise UsageError(f"{asker}: nothing is attached to this model at {', '.join(on)}")
    return found


def at_sublayers(model: Model, of: str, on: tuple[str, ...], asker: str) -> dict[str, str]:
    """The kinds of the sublayers of steps that are meant, by path: a mixer, a channel or either, and by patterns."""
    found = meant(sublayers(model, of), on, asker, f"{' or '.join(_kinds(of))} of a step")
    return {part.path: part.spec.kind for part in found}


def sublayers(model: Model, of: str) -> list[Any]:
    """The sublayers of steps of these kinds."""
    return [step.part for step in cast(list[Any], list(model.steps)) if step.part.spec.kind in _kinds(of)]


def _kinds(of: str) -> tuple[str, ...]:
    return ("mixer", "channel") if of == "either" else (of,)
