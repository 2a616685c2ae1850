"""Specs: a system as a frozen, printable, hashable tree of part names and settings. Needs no torch.

A `Spec` is a kind, a name and settings; a setting is a plain value, a Spec or a tuple of these. Everything that
can be built, a single norm as well as a model with its training program, is one Spec, so one printer, one hash,
one JSON form and one override rule serve them all. An edit is a Spec too: it addresses one built module by path.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.renamed import tell_new_name

if TYPE_CHECKING:  # the annotations are read as text
    from blockyard.core.settings import (
        Also,
        Applies,
        Blocks,
        Causal,
        DepthSpec,
        Digest,
        Dim,
        Edits,
        HeadSpec,
        Length,
        LinearSpec,
        ObjectiveSpec,
        OptimiserSpec,
        PhaseData,
        PhaseShare,
        PhaseTask,
        ResidualSpec,
        Restart,
        StemSpec,
        Towers,
        Trains,
    )  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """A part's `kind` and `name` with the `settings` that differ from its defaults; a setting may hold specs."""

    kind: str
    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __hash__(self) -> int:
        """As equality has it, worked out once: specs are keys of what a forward shares."""
        found = self.__dict__.get("_hash")
        if found is None:
            found = self.__dict__["_hash"] = hash((self.kind, self.name, self.settings))
        return found

    @staticmethod
    def of(kind: str, name: str, settings: dict[str, Any]) -> "Spec":
        """A spec with its settings in their canonical order; lists become tuples."""
        return Spec(kind, name, tuple(sorted((key, _freeze(value)) for key, value in settings.items())))

    def __getitem__(self, key: str) -> Any:
        return dict(self.settings)[key]

    def get(self, key: str, default: Any = None) -> Any:
        """A setting, or `default` where it is not given (a part's own default stands in its constructor)."""
        return dict(self.settings).get(key, default)

    def but(self, **settings: Any) -> "Spec":
        """The same spec with some settings replaced."""
        return Spec.of(self.kind, self.name, dict(self.settings) | settings)

    def __repr__(self) -> str:
        inner = ", ".join([json.dumps(self.name), *(f"{k}={v!r}" for k, v in self.settings)])
        return f"{self.kind}({inner})"

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name this spec; equal specs have equal hashes on every machine."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """An object of kind, name and settings; `from_json` reads it."""
        return {"kind": self.kind, "name": self.name, **{"settings": {k: _thaw(v) for k, v in self.settings}}}

    @staticmethod
    def from_json(data: Any) -> "Spec":
        """The spec of such an object; anything else is a UsageError."""
        if not isinstance(data, dict) or not {"kind", "name", "settings"} <= set(data):
            raise UsageError("not a spec: expected an object with kind, name and settings")
        if not (isinstance(data["kind"], str) and isinstance(data["name"], str) and isinstance(data["settings"], dict)):
            raise UsageError("not a spec: kind and name are words, settings an object")
        return Spec.of(data["kind"], data["name"], {k: _parse(v) for k, v in data["settings"].items()})

    def walk(self) -> Iterator["Spec"]:
        """This spec and every spec inside it."""
        yield self
        for _, value in self.settings:
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Spec):
                    yield from item.walk()

    def map(self, change: Any) -> "Spec":
        """The tree with `change` applied to every spec in it, leaves first."""

        def inner(value: Any) -> Any:
            if isinstance(value, Spec):
                return value.map(change)
            return tuple(inner(v) for v in value) if isinstance(value, tuple) else value

        return change(Spec(self.kind, self.name, tuple((k, inner(v)) for k, v in self.settings)))

    def at(self, path: str, **settings: Any) -> "Spec":
        """An edit of one built module: `spec.at("steps.0.part", heads=2, **{"axes.kv": 1})`; `*` matches a word."""
        if self.kind == "system":
            return self.but(model=self["model"].at(path, **settings))
        return self.but(edits=(*self.get("edits", ()), Spec.of("edit", path, settings)))

    def override(self, target: str, value: Any) -> "Spec":
        """Set `kind.setting` in every part of that kind that has the setting; `block.kind.setting` narrows."""
        *where, kind, setting = target.split(".")
        blocks = {spec.name for spec in self.walk() if spec.kind == "block"}
        if len(where) > 1 or (where and where[0] not in blocks):
            raise unknown("block", ".".join(where), blocks)
        kinds = {spec.kind for spec in self.walk()} & set(registry.CHECKED)
        if kind not in kinds:
            raise unknown("kind of part in this recipe", kind, kinds)
        changed: list[str] = []

        def change(spec: Spec) -> Spec:
            if spec.kind != kind:
                return spec
            entry = registry.find(kind, spec.name)
            name = _home(entry, setting)[0]
            if name not in entry.settings:
                return spec
            changed.append(spec.name)
            given = current_settings(entry, dict(spec.settings) | {setting: value})
            return spec.but(**{name: entry.settings[name].check(given.get(name, value))})

        def narrow(spec: Spec) -> Spec:
            return spec.map(change) if spec.kind == "block" and spec.name == where[0] else spec

        result = self.map(narrow) if where else self.map(change)
        if not changed:
            known = {k for s in self.walk() if s.kind == kind for k in registry.find(kind, s.name).arguments}
            raise unknown(f"setting of {kind}", setting, known)
        return result

    def swap(self, kind: str, value: Any) -> "Spec":
        """Another part in the place of every part of a kind, those included that stand there where none is named.

        Settings that were given and that the new part has too are kept: `swap("mixer", "gla")` keeps the heads. None
        leaves the place empty, where it may be.
        """
        if value is not None and not isinstance(value, Spec | str):
            raise UsageError(f"{kind}={write_value(value)} must be the name of a {kind}, or none")
        new = None if value is None else registry.find(kind, value.name if isinstance(value, Spec) else value)
        own = dict(value.settings) if isinstance(value, Spec) else {}
        met: list[str] = []
        free: list[str] = []

        def other(old: Any) -> Any:
            if not isinstance(old, Spec) or old.kind != kind:
                return old
            met.append(old.name)
            if new is None:
                return None
            kept = {key: held for key, held in old.settings if key in new.settings and old.name != new.name}
            return Spec.of(kind, new.name, {**(dict(old.settings) if old.name == new.name else kept), **own})

        def change(spec: Spec) -> Spec:
            given = dict(spec.settings)
            if spec.kind in registry.CHECKED:
                slots = registry.find(spec.kind, spec.name).settings
                free.extend(f"{spec.kind}.{name}" for name, each in slots.items() if each.slot == kind)
                unsaid = {name: each.usual for name, each in slots.items() if each.slot == kind and name not in given}
                given |= {name: usual for name, usual in unsaid.items() if usual is not None}
            return Spec.of(spec.kind, spec.name, {key: _each(held, other) for key, held in given.items()})

        result = self.map(change)
        if not met:
            kinds = {spec.kind for spec in self.walk()} & {*registry.KINDS}
            if not free:
                raise unknown("kind of part in this recipe", kind, kinds)
            raise UsageError(f"no {kind} stands in this recipe that another could replace; there is room at {free[-1]}")
        return result


def _each(value: Any, change: Any) -> Any:
    """A value, or each of several, changed; of several those that are gone are left out."""
    if not isinstance(value, tuple):
        return change(value)
    return tuple(made for held in value if (made := change(held)) is not None or held is None)


def _freeze(value: Any) -> Any:
    return tuple(_freeze(v) for v in value) if isinstance(value, (list, tuple)) else value


def _thaw(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_json()
    return [_thaw(v) for v in value] if isinstance(value, tuple) else value


def _parse(value: Any) -> Any:
    if isinstance(value, dict):
        return Spec.from_json(value)
    return tuple(_parse(v) for v in value) if isinstance(value, list) else value


def split_words(text: str, mark: str = ",") -> list[str]:
    """What stands between marks; what stands in brackets may have marks of its own."""
    pieces, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == mark and depth <= 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces


def parse_value(text: str) -> Any:
    """The value of a dotted override: a Python literal, `kind:name` for a part, otherwise the word itself."""
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    kind, colon, name = text.partition(":")
    if colon and kind in registry.KINDS:
        return Spec.of(kind, registry.find(kind, name).name, {})
    try:
        return _freeze(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def write_value(value: Any) -> str:
    """A value as `parse_value` reads it."""
    if isinstance(value, Spec):
        return f"{value.kind}:{value.name}"
    return value if isinstance(value, str) else repr(value)


def matching_edits(edits: tuple[Spec, ...], *paths: str) -> list[Spec]:
    """The edits that meet the module of these paths, in the order they were made; `*` stands for one word."""

    def meets(words: list[str], wanted: list[str]) -> bool:
        return len(words) == len(wanted) and all(map(fnmatchcase, words, wanted))

    return [edit for edit in edits if any(meets(path.split("."), edit.name.split(".")) for path in paths)]


def current_name(entry: registry.Entry, name: str) -> str:
    """What a setting is called today; a line where it was given under the name it had before."""
    new = entry.constant("renamed", {}).get(name, name)
    if new == name or new not in entry.arguments:
        return name
    tell_new_name(f"{entry.kind}:{entry.name}: the setting {name}", new)
    return new


def current_settings(entry: registry.Entry, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under the names of today; what a slot took over becomes a setting of the part in it."""
    found = {current_name(entry, key): value for key, value in settings.items()}
    for key in [key for key in found if key not in entry.arguments]:
        slot, part, inner = _home(entry, key)
        if not inner:
            continue
        value, held = found.pop(key), found.get(slot, entry.settings[slot].usual)
        tell_new_name(f"{entry.kind}:{entry.name}: the setting {key}", f"{slot}={part} with {slot}.{inner}")
        if value is not None:
            held = entry.settings[slot].check(part if held is None else held)
            known = registry.find(held.kind, held.name).settings
            if inner not in known:
                raise UsageError(f"{key}={value}: {slot}={held.name} has no {inner}; {slot}={part} has")
            found[slot] = held.but(**{inner: known[inner].check(value)})
    return found


def _home(entry: registry.Entry, key: str) -> tuple[str, str, str]:
    """The setting that says today what `key` said; where a slot took it over, the part in it and that one's setting."""
    slot, _, inner = entry.constant("renamed", {}).get(key, key).partition(".")
    slot, _, part = slot.partition(":")
    if key in entry.arguments or slot not in entry.arguments:
        return key, "", ""
    return slot, part, inner


def _maker(kind: str) -> Any:
    def make(name: str, /, **settings: Any) -> Spec:
        return Spec.of(kind, name, settings)

    make.__name__ = kind
    make.__doc__ = f"A spec of kind {kind}."
    return make


stem, head, mixer, channel = _maker("stem"), _maker("head"), _maker("mixer"), _maker("channel")
norm, activation, linear, position = _maker("norm"), _maker("activation"), _maker("linear"), _maker("position")
store, residual, depth, objective = _maker("store"), _maker("residual"), _maker("depth"), _maker("objective")
junction, corrupt, router, transform = _maker("junction"), _maker("corrupt"), _maker("router"), _maker("transform")
pattern, weigh, optimiser = _maker("pattern"), _maker("weigh"), _maker("optimiser")


def block(name: str, *steps: Spec, residual: Spec | None = None) -> Spec:
    """A named list of sublayers; `residual` replaces the model's rule inside this block."""
    return Spec.of("block", name, {"steps": steps, "residual": residual})


def model(
    *, dim: "Dim", stem: "StemSpec", blocks: "Blocks", depth: "DepthSpec", residual: "ResidualSpec",
    head: "HeadSpec", linear: "LinearSpec | None" = None, causal: "Causal" = True, length: "Length | None" = None,
    edits: "Edits" = (), towers: "Towers" = (),
) -> Spec:  # fmt: skip
    """A model: a stem, blocks planned by a depth program behind a residual rule, a head, and towers that it reads."""
    given = dict(dim=dim, stem=stem, blocks=blocks, depth=depth, residual=residual, head=head)
    extra = dict(linear=(linear, None), causal=(causal, True), length=(length, None), edits=(edits, ()))
    extra["towers"] = (towers, ())
    return Spec.of("model", "model", given | {k: value for k, (value, default) in extra.items() if value != default})


def tower(name: str, model: Spec, *, question: bool = False) -> Spec:
    """A whole model whose stream another one reads under this name. What it reads itself a batch holds as `more[name]`.

    question   whether it reads, of a batch that has no such thing but targets, the tokens before the first asked one
    """
    return Spec.of("tower", name, {"model": model, **({"question": True} if question else {})})


def phase(
    objective: "ObjectiveSpec", *, share: "PhaseShare" = 1.0, train: "Trains" = "*", apply: "Applies" = (),
    also: "Also" = (), restart: "Restart | None" = None, data: "PhaseData" = (), task: "PhaseTask | None" = None,
    length: "Length | None" = None, digest: "Digest | None" = None,
) -> Spec:  # fmt: skip
    """A stretch of training: its objective and what is added to it, its share of the steps, which parameter paths
    train, from where it begins, what the model goes through before, and the rows of its own where it has some."""
    given = {"objective": objective, "share": share, "train": train}
    extra = dict(apply=(apply, ()), also=(also, ()), restart=(restart, None), data=(data, ()), task=(task, None))
    extra |= dict(length=(length, None), digest=(digest, None))
    return Spec.of("phase", objective.name, given | {k: value for k, (value, usual) in extra.items() if value != usual})


def objectives(phase: Spec) -> tuple[Spec, ...]:
    """All that a phase minimises, its own objective first."""
    return phase["objective"], *phase.get("also", ())


def has_own_rows(phase: Spec) -> bool:
    """Whether a phase trains on other rows than the whole run does."""
    return bool(phase.get("data")) or phase.get("task") is not None


def restarts(program: tuple[Spec, ...]) -> list[int | None]:
    """The phase as at whose beginning each phase begins; None: it goes on from the one before it."""
    found = [each.get("restart") for each in program]
    for place, first in enumerate(found):
        if first is not None and first >= place:
            raise UsageError(f"phase {place} restarts from phase {first}: it must be an earlier one, counted from 0")
    return found


def system(model: Spec, *program: Spec, optimiser: "OptimiserSpec | None" = None, schedule: str | None = None) -> Spec:
    """A model with its training program, next-token prediction when none is named, and an optimiser and a schedule of
    its rate where it needs some of its own."""
    given = {"model": model, "program": program or (phase(objective("next_token")),)}
    own = {"optimiser": optimiser, "schedule": schedule}
    return Spec.of("system", "system", given | {name: value for name, value in own.items() if value is not None})
