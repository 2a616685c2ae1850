"""Settings by value: what each one accepts, read from the annotations of a constructor and checked before a build.

    heads: Heads = 4                                          an alias of this file: type, range and meaning
    tau: Annotated[Positive, "how slowly gates close"] = 16   a range and a meaning of its own
    norm: NormSpec | None = None                              a slot: a norm, by name, by `norm:name` or as a spec

The annotation is the only place where type, range and meaning stand; checks, messages, `show` and the JSON Schema
follow from it. Annotations are read as text, so what they name is what this file defines. Needs no torch.
"""

import ast
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from blockyard.core import registry
from blockyard.core.errors import UsageError, brief
from blockyard.core.renamed import tell_new_name
from blockyard.core.spec import Spec, current_settings, parse_value, split_words, write_value

_TINY, _HUGE = 1e-30, 1e30  # what lies beyond is no number in single precision


@dataclass(frozen=True)
class Slot:
    """The kind of part that a setting holds."""

    kind: str


@dataclass(frozen=True)
class Many:
    """The kind of every spec in a setting that holds a row of them."""

    kind: str


Natural = Annotated[int, Meta(ge=0, le=2**24)]
Count = Annotated[int, Meta(ge=1, le=2**24)]
Tokens = Annotated[int, Meta(ge=1, le=10**15)]
Depths = Annotated[int, Meta(ge=1, le=10**4)]
Positive = Annotated[float, Meta(ge=_TINY, le=_HUGE)]
NonNegative = Annotated[float, Meta(ge=0, le=_HUGE)]
Number = Annotated[float, Meta(ge=-_HUGE, le=_HUGE)]
Share = Annotated[float, Meta(gt=0, le=1)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
OneOrMore = Annotated[float, Meta(ge=1, le=2**24)]
Word = Annotated[str, Meta(min_length=1)]

# what many parts and recipes have, in the same words everywhere
Dim = Annotated[Count, "channels of the stream"]
Layers = Annotated[Depths, "how many layers"]
Heads = Annotated[Count, "heads, side by side, each with channels of its own"]
KVHeads = Annotated[Count, "heads of keys and values, each shared by as many query heads; none: one for each"]
HeadDim = Annotated[Count, "channels of a head; none: the width divided by the heads"]
KeyDim = Annotated[Count, "channels of a head's keys; none: the width divided by the heads"]
ValueDim = Annotated[Count, "channels of a head's values; none: the width divided by the heads"]
Inner = Annotated[Count, "channels inside; none: the part's own multiple of the width"]
StateDim = Annotated[Count, "numbers of state a channel"]
Rank = Annotated[Count, "channels between the two thin matrices of a product"]
Dropout = Annotated[float, Meta(ge=0, lt=1), "the share of inner numbers that training leaves out"]
Vocab = Annotated[Count, "tokens of the vocabulary"]
MaskId = Annotated[Natural, "the id that stands for a hidden token; none: the last of the vocabulary"]
Tied = Annotated[bool, "whether the head reads the stem's table"]
Eps = Annotated[NonNegative, "added under the root, in units of the squared input"]
Base = Annotated[Positive, "the slowest wave is this many times as long as the fastest"]
Longer = Annotated[OneOrMore, "how many times as long as in training rows become"]
Trained = Annotated[Count, "tokens of the longest row in training; none: what the model expects"]
Carried = Annotated[Count, "tokens of the longest text that goes on from a state; none: none does"]
Scale = Annotated[Positive, "factor on the products of queries and keys; none: one over the root of a key's channels"]
Causal = Annotated[bool, "whether a token sees only what stands before it"]
Length = Annotated[Count, "tokens of the longest row that is expected"]
Blocks = Annotated[tuple[Spec, ...], Many("block"), "named lists of sublayers"]
Edits = Annotated[tuple[Spec, ...], Many("edit"), "changes of single modules, by path"]
Towers = Annotated[tuple[Spec, ...], Many("tower"), "models whose answers its parts read, by name"]
PhaseShare = Annotated[Share, "the part of the budget"]
Trains = Annotated[
    Word | tuple[str, ...],
    "the paths of what trains, with * for any word, or `attached`: what was attached to the model; one or several",
]
Steps = Annotated[Sequence[int], "places of steps in the model"]
Applies = Annotated[tuple[Spec, ...], Many("transform"), "transforms that the model goes through before it"]
Also = Annotated[tuple[Spec, ...], Many("objective"), "objectives whose terms are added to it"]
PhaseData = Annotated[tuple[str, ...], "what its rows are of, as --data takes it; none: what the whole run is on"]
PhaseTask = Annotated[Word, "the task whose rows these are, as --task takes it; none: the usual one of its data"]
Digest = Annotated[Word, "the hash of its data, as a plan finds it"]
Restart = Annotated[Natural, "the phase, from 0, as at whose beginning all numbers are again; none: they go on"]
Weights = Annotated[tuple[Number, ...], "how much each model counts, in their order; none: all alike"]
Bits = Annotated[Literal[4, 8], "bits a number"]
Group = Annotated[Literal[32, 64], "numbers that share a scale"]
Patterns = Annotated[tuple[str, ...], "patterns of paths of parts, with * for any word"]
Places = Annotated[tuple[Natural, ...], "places, counted from 0"]
Bias = Annotated[bool, "a learned number added to each output"]
Height = Annotated[Count, "pixels of an image from top to bottom"]
Width = Annotated[Count, "pixels of an image from left to right"]
Patch = Annotated[Count, "pixels of a patch, down and across"]
Channels = Annotated[Count, "numbers of a pixel or a frame"]
Classes = Annotated[Count, "how many classes there are"]
Kernel = Annotated[Count, "tokens that the filter covers, down and across"]
Window = Annotated[Count, "steps of a window"]
Variables = Annotated[Count, "variables of a window, side by side"]
Asked = Annotated[Count, "variables to forecast: the first so many"]
Horizon = Annotated[Count, "steps to forecast"]
Levels = Annotated[
    tuple[Annotated[float, Meta(gt=0, lt=1)], ...], "levels of the quantiles that are said, rising; none: one number"
]
Values = Annotated[Count, "values of a categorical variable"]
Hot = Annotated[Positive, "the temperature of choices at first"]
Cold = Annotated[Positive, "the temperature of choices at last"]
BetaMax = Annotated[float, Meta(gt=0, le=2), "the largest step of the delta rule: above 1 eigenvalues may be negative"]


StemSpec = Annotated[Spec, Slot("stem"), "where tokens enter"]
MixerSpec = Annotated[Spec, Slot("mixer"), "a mixer"]
ConvSpec = Annotated[MixerSpec, "a short convolution before the recurrence"]
ChannelSpec = Annotated[Spec, Slot("channel"), "a channel"]
HeadSpec = Annotated[Spec, Slot("head"), "where predictions leave"]
PositionSpec = Annotated[Spec, Slot("position"), "how positions enter: at the stem, on queries and keys, or as a bias"]
PatternSpec = Annotated[Spec, Slot("pattern"), "which tokens are read of those that may be seen; none: all"]
WeighSpec = Annotated[Spec, Slot("weigh"), "what weights become of scores"]
NormSpec = Annotated[Spec, Slot("norm"), "the norm"]
ScalingSpec = Annotated[
    NormSpec, "what a window is scaled by, and its forecast back: a norm that can be undone; none: nothing"
]
HeadNorm = Annotated[NormSpec, "the norm of what each head writes"]
ActivationSpec = Annotated[Spec, Slot("activation"), "the activation"]
StoreSpec = Annotated[Spec, Slot("store"), "how the matrix is kept"]
LinearSpec = Annotated[Spec, Slot("linear"), "the kind of projection"]
ResidualSpec = Annotated[Spec, Slot("residual"), "how steps read the stream and write to it"]
DepthSpec = Annotated[Spec, Slot("depth"), "which blocks there are and when they run"]
CorruptSpec = Annotated[Spec, Slot("corrupt"), "what is taken away and asked for"]
RouterSpec = Annotated[Spec, Slot("router"), "which experts a token goes to, and how much each counts"]
OptimiserSpec = Annotated[Spec, Slot("optimiser"), "what turns gradients into steps; none: as the run says"]
ObjectiveSpec = Annotated[Spec, Slot("objective"), "what training minimises"]

_YES = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


@dataclass(frozen=True)
class Setting:
    """One setting: its name, its annotation as a type, its default as it stands in the source (None: no default)."""

    owner: str
    name: str
    type: Any
    default: str | None

    @property
    def meaning(self) -> str:
        return next((m for m in _metadata(self.type) if isinstance(m, str)), "")

    @property
    def slot(self) -> str | None:
        """The kind of part that this setting holds; None for a plain value."""
        return next((m.kind for m in _metadata(self.type) if isinstance(m, Slot)), None)

    @property
    def usual(self) -> Spec | None:
        """The part that stands in this slot where none is named; None where the slot is empty then."""
        made = None if self.slot is None or self.default is None else _evaluated(self.default)
        return made if isinstance(made, Spec) else None

    @property
    def optional(self) -> bool:
        return any(plain is type(None) for plain, _ in _alternatives(self.type))

    @property
    def accepts(self) -> str:
        """What may be given, in words."""
        return accepted(self.type)

    def check(self, value: Any) -> Any:
        """The value as the part gets it (a slot's name as a spec, a whole number as a float), or an error."""
        plain = [plain for plain, _ in _alternatives(self.type)]
        if self.slot is not None:
            return self._part(value)
        if plain[0] is bool and isinstance(value, str) and value.lower() in _YES:
            return _YES[value.lower()]
        many = next((m.kind for m in _metadata(self.type) if isinstance(m, Many)), None)
        if many is not None:
            if isinstance(value, tuple) and all(isinstance(v, Spec) and v.kind == many for v in value):
                return value
            raise self._refuse(value)
        if get_origin(plain[0]) is tuple and value is not None and not isinstance(value, list | tuple):
            value = (value,)  # one of several is said without brackets
        try:
            return msgspec.convert(value, self.type)
        except (msgspec.ValidationError, OverflowError):
            raise self._refuse(value) from None

    def _part(self, value: Any) -> Any:
        kind, known = str(self.slot), registry.entries(str(self.slot))
        if value is None and self.optional:
            return None
        if value is None and "none" in known:
            return Spec(kind, "none")  # "no norm" is a part where a norm must stand
        if isinstance(value, str):
            before, colon, name = value.rpartition(":")
            if colon and before != kind:
                raise self._refuse(value)
            try:
                given = current_part(Spec(kind, name))
                return Spec(kind, registry.find(kind, given.name).name, given.settings)
            except UsageError as error:
                raise UsageError(f"{self.owner}: {self.name}={brief(value)}: {error}") from None
        if isinstance(value, Spec) and value.kind == kind:
            return value
        raise self._refuse(value)

    def _refuse(self, value: Any) -> UsageError:
        plain = isinstance(value, Spec) or (isinstance(value, str) and parse_value(value) == value)
        shown = write_value(value) if plain else repr(value)
        words = [str(word) for p, _ in _alternatives(self.type) if get_origin(p) is Literal for word in get_args(p)]
        near = difflib.get_close_matches(str(value), words, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        return UsageError(f"{self.owner}: {self.name}={brief(shown)} must be {self.accepts}{hint}")

    def json_schema(self) -> dict[str, Any]:
        """The setting as JSON Schema."""
        if self.slot is not None:
            names = sorted(registry.entries(self.slot))
            found: dict[str, Any] = {"type": ["string", "null"] if self.optional else "string", "enum": names}
            if self.optional:
                found["enum"] = [*names, None]
        elif any(isinstance(m, Many) for m in _metadata(self.type)):
            found = {"type": "array", "items": {"type": "object"}}
        else:
            found = msgspec.json.schema(self.type)
        return found | {"description": f"{self.meaning} ({self.accepts})"}


def accepted(annotation: Any) -> str:
    """What values of an annotation may be, in words."""
    return " or ".join(_words(plain, metas) for plain, metas in _alternatives(annotation))


def _alternatives(annotation: Any) -> Iterator[tuple[Any, list[Any]]]:
    """The members of a union, each as a plain type with what annotates it."""
    if get_origin(annotation) is Annotated:
        inner, *metas = get_args(annotation)
        for plain, more in _alternatives(inner):
            yield plain, [*metas, *more]
    elif get_origin(annotation) in (Union, type(int | None)):
        for member in get_args(annotation):
            yield from _alternatives(member)
    else:
        yield annotation, []


def _metadata(annotation: Any) -> Iterator[Any]:
    """What annotates any member, the outermost first."""
    if get_origin(annotation) is Annotated:
        inner, *metas = get_args(annotation)
        yield from reversed(metas)  # nested annotations are flattened, the outermost last
        yield from _metadata(inner)
    elif get_origin(annotation) in (Union, type(int | None)):
        for member in get_args(annotation):
            yield from _metadata(member)


def _words(plain: Any, metas: list[Any]) -> str:
    """A member of an annotation in words, with its range."""
    slot = next((m.kind for m in metas if isinstance(m, Slot)), None)
    if slot is not None:
        names = sorted(registry.entries(slot))
        return f"{'an' if slot[0] in 'ao' else 'a'} {slot} ({', '.join(names[:12])}{', ...' if names[12:] else ''})"
    if plain is type(None):
        return "none"
    if get_origin(plain) is Literal:
        return " or ".join(map(str, get_args(plain)))
    if get_origin(plain) is Sequence:
        return "whole numbers"
    if get_origin(plain) is tuple:
        return "words" if get_args(plain)[0] is str else "one or several of: " + accepted(get_args(plain)[0])
    name = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}.get(plain, "specs")
    bounds = [m for m in metas if isinstance(m, Meta)]
    low = next((m.ge for m in bounds if m.ge is not None), None)
    above = next((m.gt for m in bounds if m.gt is not None), None)
    high = next((m.le for m in bounds if m.le is not None and m.le < _HUGE), None)
    low, above = (None, 0) if low == _TINY else (low if low is None or low > -_HUGE else None, above)
    under = next((m.lt for m in bounds if m.lt is not None), None)
    if low is not None and under is not None:
        return f"{name} from {low:,} to below {under:,}"
    if low is not None:
        return f"{name} from {low:,} to {high:,}" if high is not None else f"{name} of at least {low:,}"
    if above is not None:
        return f"{name} above {above:,}" + (f" and of at most {high:,}" if high is not None else "")
    return name


def read(owner: str, argument: ast.arg, default: ast.AST | None) -> Setting:
    """The setting of an argument, by its syntax."""
    node = argument.annotation
    text = str(node.value) if isinstance(node, ast.Constant) else "" if node is None else ast.unparse(node)
    try:
        found = _evaluated(text)
    except Exception:
        raise UsageError(
            f"{owner}: the annotation of {argument.arg}, {text or 'nothing'!r}, is not made of what "
            f"blockyard.core.settings defines, such as Count, Positive, NormSpec or Annotated[Share, 'meaning']"
        ) from None
    return Setting(owner, argument.arg, found, None if default is None else ast.unparse(default))


def _evaluated(text: str) -> Any:
    """The value of a text of an installed file, read as its import would."""
    return eval(text, {"__builtins__": {}}, _NAMES)


_NAMES = {name: value for name, value in list(globals().items()) if name[0].isupper()}
_NAMES |= {"int": int, "float": float, "bool": bool, "str": str, "tuple": tuple}


def checked(spec: Spec) -> Spec:
    """The spec with every setting of every part in it checked and in its final form."""

    def check(one: Spec) -> Spec:
        if one.kind not in registry.CHECKED:
            return one
        one = current_part(one)
        entry = registry.find(one.kind, one.name)
        return Spec.of(one.kind, one.name, check_settings(entry, dict(one.settings)))

    return spec.map(check)


def current_part(spec: Spec) -> Spec:
    """The spec of what took the place of its part: settings that a slot of that takes move there; a line says so."""
    if spec.name.replace("-", "_") in registry.entries(spec.kind):
        return spec
    for entry in registry.entries(spec.kind).values():
        for slot, name in entry.constant("replaces", {}).get(spec.name, {}).items():
            kind, settings = str(entry.settings[slot].slot), dict(spec.settings)
            inner = {key: settings.pop(key) for key in registry.find(kind, name).arguments if key in settings}
            tell_new_name(f"{spec.kind}:{spec.name}", f"{entry.kind}:{entry.name} with {slot}={name}")
            return Spec.of(spec.kind, entry.name, {**settings, slot: Spec.of(kind, name, inner)})
    return spec


def check_settings(entry: "registry.Entry", settings: dict[str, Any], where: str = "") -> dict[str, Any]:
    """The settings in their final form; refused: one that the part does not have, or a value it does not take."""
    known = entry.settings
    try:
        settings = current_settings(entry, settings)
        registry.check_names(entry, settings)
        return {key: known[key].check(value) for key, value in settings.items()}
    except UsageError as error:
        raise UsageError(f"{where}: {error}" if where else str(error)) from None


def called(kind: str, text: str) -> tuple[registry.Entry, dict[str, Any]]:
    """The entry and the settings, in their final form, of `name` or `name(key=value,key=value)`."""
    name, bracket, tail = text.partition("(")
    if bracket and not tail.endswith(")"):
        raise UsageError(f"{kind} {text!r}: a bracket is open; write {name}(key=value,...)")
    entry, settings = registry.find(kind, name.strip()), dict[str, Any]()
    for item in filter(None, split_words(tail[:-1])):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{kind} {text!r}: {item!r} is not key=value")
        settings[key.strip()] = parse_value(value.strip())
    return entry, check_settings(entry, settings)
