"""Rotary positions as a config.json says them: the present form, the older ones, and one for each type of layer.

    rope_parameters   {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, ...}, or such an object by type of layer
    rope_scaling      the same, older: with `type`, and without what is the same in every scheme
    beside them       rope_theta, partial_rotary_factor, original_max_position_embeddings

A key that a scheme does not know is refused: it could be meant to change what is computed.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from blockyard.core.spec import Spec, position

if TYPE_CHECKING:
    from blockyard.interop.fields import Fields

LAYERS = ("full_attention", "sliding_attention")
OF_ALL = ("rope_type", "type", "rope_theta", "partial_rotary_factor")
KEYS = {  # what each scheme reads beside what is the same in all
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": (
        "factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
        "original_max_position_embeddings",
    ),
    "longrope": ("short_factor", "long_factor", "factor", "attention_factor", "original_max_position_embeddings"),
}  # fmt: skip


class Scheme:
    """The settings of one scheme, and what stands beside them in config.json."""

    def __init__(self, fields: "Fields", said: tuple[str, dict[str, Any], bool], length: int, how: dict) -> None:
        self.fields, self.most, self.how = fields, length, how
        self.name, self.given, self.nested = name, given, _ = said
        word = given.get("rope_type") or given.get("type") or "default"
        self.type = how["called"].get(word, word)
        if self.type not in KEYS:
            raise fields.refuse(name, f"rope_type={word!r} is not known here; known are {', '.join(KEYS)}")
        for key, value in given.items():
            if key not in (*OF_ALL, *KEYS[self.type]) and value is not None:
                raise fields.refuse(name, f"rotary positions of type {self.type} have no {key}={value!r} here")

    def number(self, key: str, usual: float | None = None) -> float:
        """A number above zero; the usual one where there is none."""
        given = self.given.get(key)
        value = _positive(usual if given is None else given)
        if value is None:
            raise self.fields.refuse(self.name, f"{key}={given!r} is not a number above 0")
        return value

    def factor(self, usual: float | None = None) -> float:
        found = self.number("factor", usual)
        if found < 1:
            raise self.fields.refuse(self.name, f"factor={found:g} would make texts shorter; expected 1 or more")
        return found

    def length(self) -> int:
        """Tokens of the longest text that is expected."""
        return self.fields.whole("max_position_embeddings", self.most)

    def trained(self) -> int:
        """Tokens of the longest text in training, before positions were stretched."""
        key = "original_max_position_embeddings"
        beside = None if self.nested else self.fields.whole(key, self.how["trained"])
        found = self.given.get(key) if beside is None else beside
        found = self.length() if found is None else found
        if type(found) is not int or found < 2:
            raise self.fields.refuse(self.name, f"{key}={found!r} is not a whole number above 1")
        return found

    def spec(self, base: float, pairs: int) -> Spec:
        """The position of heads that turn so many pairs of channels."""
        return getattr(self, f"_{self.type}")(base, pairs)

    def _default(self, base: float, pairs: int) -> Spec:
        return position("rope", base=base)

    def _linear(self, base: float, pairs: int) -> Spec:
        return position("interpolated", factor=self.factor(), base=base)

    def _dynamic(self, base: float, pairs: int) -> Spec:
        length = self.length()
        return position("dynamic_ntk", factor=self.factor(), trained=length, carried=length, base=base)

    def _llama3(self, base: float, pairs: int) -> Spec:
        fast, slow = self.number("high_freq_factor"), self.number("low_freq_factor")
        if fast <= slow:
            raise self.fields.refuse(self.name, "high_freq_factor must be larger than low_freq_factor")
        return position("llama3", factor=self.factor(), trained=self.trained(), fast=fast, slow=slow, base=base)

    def _yarn(self, base: float, pairs: int) -> Spec:
        if self.given.get("truncate") not in (None, True):
            raise self.fields.refuse(self.name, "truncate=false is not known")
        trained = self.trained()
        factor = self.factor(self.length() / trained)
        fast, slow = self.number("beta_fast", 32.0), self.number("beta_slow", 1.0)
        if fast <= slow or trained < 2 * math.pi * slow or base <= 1:
            raise self.fields.refuse(self.name, "beta_fast > beta_slow, rope_theta > 1 and a longer text are needed")
        grown: Any = self.given.get("attention_factor")
        if grown is not None:
            grown = self.number("attention_factor")
        elif self.given.get("mscale") and self.given.get("mscale_all_dim"):
            grown = _grown(factor, self.number("mscale")) / _grown(factor, self.number("mscale_all_dim"))
        return position("yarn", factor=factor, trained=trained, fast=fast, slow=slow, grown=grown, base=base)

    def _longrope(self, base: float, pairs: int) -> Spec:
        trained = self.trained()
        factor = self.number("factor", self.length() / trained)
        usual = math.sqrt(1 + math.log(factor) / math.log(trained)) if factor > 1 else 1.0
        lists = {}
        for key, ours in (("short_factor", "short"), ("long_factor", "long")):
            found = self.given.get(key)
            factors = [_positive(f) for f in found] if isinstance(found, list) else []
            if len(factors) != pairs or None in factors:
                raise self.fields.refuse(self.name, f"{key} is not a list of {pairs} numbers above 0")
            lists[ours] = tuple(factors)
        grown = self.number("attention_factor", usual)
        return position("longrope", trained=trained, carried=trained, grown=grown, base=base, **lists)


def _positive(value: Any) -> float | None:
    """A finite number above zero as it is; None for anything else."""
    return float(value) if type(value) in (int, float) and 0 < value < math.inf else None


def _grown(factor: float, mscale: float) -> float:
    return 1 + 0.1 * mscale * math.log(factor)


def rope(
    fields: "Fields", head_dim: int, length: int, *, base: float = 10000.0, share: float | None = None,
    layer: str | None = None, beside: Mapping[str, str] = MappingProxyType({}), trained: int | None = None,
    called: Mapping[str, str] = MappingProxyType({}),
) -> Spec | None:  # fmt: skip
    """The position of heads of so many channels; None where rope_theta is null, which some classes take for none.

    length   max_position_embeddings where config.json has none
    base     the same of rope_theta
    share    the same of partial_rotary_factor; None: the class turns all channels
    layer    the type of layer, where each has positions of its own
    beside   names of its own for rope_theta and partial_rotary_factor beside the scheme; empty: it reads none there
    trained  the same of original_max_position_embeddings
    called   names of its own for schemes
    """
    name, given, _ = said = _given(fields, layer)
    scheme = Scheme(fields, said, length, dict(trained=trained, called=called))

    def said_of_all(key: str, usual: Any) -> Any:
        if other := beside.get(key, key):
            fields.seen.add(other)
            usual = fields.config.get(other, usual)
        return given.get(key, usual)

    theta, part = said_of_all("rope_theta", base), said_of_all("partial_rotary_factor", share)
    if theta is None and scheme.type == "default":
        return None
    base_of, share_of = _positive(theta), _positive(1 if part is None else part)
    if base_of is None:
        raise fields.refuse(name, f"rope_theta={theta!r} is not a number above zero")
    if share_of is None or share_of > 1:
        raise fields.refuse(name, f"partial_rotary_factor={part!r} is not a number from 0 to 1")
    if share_of != 1 and share is None:
        raise fields.refuse(name, f"partial_rotary_factor={part!r}: only heads that turn as a whole are known here")
    turned = int(head_dim * share_of)
    if turned % 2 or head_dim % 2 or not turned:
        raise fields.refuse(name, f"{turned} of {head_dim} channels of a head turn, and pairs of channels do")
    made = scheme.spec(base_of, turned // 2)
    if turned == head_dim:
        return made
    exact = turned / head_dim
    exact = exact if int(exact * head_dim) == turned else math.nextafter(exact, 1.0)
    if scheme.type == "default":
        return position("partial_rope", share=exact, base=base_of)
    return position("partial_rope", share=exact, of=made)


def _given(fields: "Fields", layer: str | None) -> tuple[str, dict[str, Any], bool]:
    """Under which name a scheme is said, the scheme, and whether it is said for a type of layer."""
    said = {name: fields.get(name, None) for name in ("rope_parameters", "rope_scaling")}
    said = {name: value for name, value in said.items() if value is not None}
    if len(said) > 1:
        raise fields.refuse("rope_scaling", "rope_parameters says the same; leave one out")
    name, given = next(iter(said.items()), ("rope_theta", {}))
    if not isinstance(given, dict):
        raise fields.refuse(name, "expected an object")
    if layer is None:
        return name, given, False
    if name == "rope_scaling":  # of whole attention alone, and there only the newer word for its type counts
        if "type" in given and "rope_type" not in given:
            raise fields.refuse(name, "its type is not read where layers differ; write rope_type")
        return name, given if layer == LAYERS[0] else {}, True
    for key, value in given.items():
        if key not in LAYERS or not isinstance(value, dict | type(None)):
            raise fields.refuse(name, f"expected an object for {' and '.join(LAYERS)}, not {key}={value!r}")
    return name, given.get(layer) or {}, True
