"""The settings of somebody else's config.json, read one by one: what nobody read and may matter is refused.

A setting that a map neither reads nor declares neutral could change what the model computes, whatever its value: false
turns off what is on by default. It stops the import unless the caller says that it changes nothing.
"""

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec, activation, pattern
from blockyard.interop.rope import rope

NEUTRAL = (
    "model_type", "architectures", "transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache",
    "initializer_range", "*_token_id", "return_dict", "output_attentions", "output_hidden_states",
    "_attn_implementation*", "attn_implementation", "tokenizer_class", "id2label", "label2id",
    "chunk_size_feed_forward", "problem_type", "gradient_checkpointing", "prefix", "torchscript",
    "task_specific_params", "finetuning_task", "is_decoder", "*_dropout", "*_pdrop",
    "cache_implementation",
)  # fmt: skip
# settings of every model type of theirs, with the one value that leaves the model as it is
PLAIN: dict[str, Any] = {
    "is_causal": True, "is_encoder_decoder": False, "tie_encoder_decoder": False, "add_cross_attention": False,
    "cross_attention_hidden_size": None, "pruned_heads": {}, "sliding_window": None, "use_sliding_window": False,
    "quantization_config": None, "rescale_prenorm_residual": False,
}  # fmt: skip
ACTIVATIONS = {
    "gelu": "gelu_exact", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "silu": "silu", "swish": "silu",
    "relu": "relu", "relu2": "squared_relu", "tanh": "tanh",
}  # fmt: skip
_REQUIRED: Any = object()


class Fields:
    """A config.json, and which of its settings have been looked at."""

    def __init__(
        self, config: dict[str, Any], where: str, ignore: tuple[str, ...] = (), held: int = 0,
        tensors: frozenset[str] = frozenset(), made: str = "",
    ) -> None:  # fmt: skip
        """`held`: how many layers the weights have. `tensors`: their names. `made`: the class that wrote them."""
        self.config, self.where, self.held, self.tensors, self.made = config, where, held, tensors, made
        self.cut: dict[str, int] = {}  # how many first rows of a tensor nobody reads
        self.seen, self.free = set[str](), [*NEUTRAL, *ignore]

    def refuse(self, name: str, why: str) -> UsageError:
        return UsageError(f"{self.where}: {name}={self.config.get(name)!r} cannot be imported: {why}")

    def get(self, name: str, default: Any = _REQUIRED) -> Any:
        """The value of a setting; the default where it is absent. Null is a value of those whose default is null."""
        self.seen.add(name)
        value = self.config.get(name)
        if value is None:
            if default is _REQUIRED:
                raise UsageError(f"{self.where}: {name} is missing")
            if name in self.config and default is not None:
                raise self.refuse(name, "it has no value")
            return default
        # transformers writes numbers that JSON does not have as {"__float__": "Infinity"}
        return [float(v["__float__"]) if _special(v) else v for v in value] if isinstance(value, list) else value

    def whole(self, name: str, default: Any = _REQUIRED) -> Any:
        """A size: a whole number above zero (or the default)."""
        value = self.get(name, default)
        if value is not default and (type(value) is not int or value < 1):
            raise self.refuse(name, "expected a whole number above zero")
        return value

    def layers(self, name: str) -> int:
        """The number of layers: no more than the weights have, and that is known before any is built."""
        value = self.whole(name)
        if value > self.held:
            raise self.refuse(name, f"the weights have {self.held} layers")
        return value

    def counts(self, name: str, most: int | None = None, length: int | None = None) -> list[int]:
        """A size for each stage: whole numbers from 1 (to `most`), so many of them."""
        value = self.get(name)
        fine = isinstance(value, list) and value and all(type(n) is int and n >= 1 for n in value)
        if not fine or (length is not None and len(value) != length):
            raise self.refuse(name, f"expected whole numbers above zero{f', {length} of them' if length else ''}")
        if most is not None and max(value) > most:
            raise self.refuse(name, f"the weights have {most} layers")
        return value

    def sides(self, name: str, default: Any = _REQUIRED) -> tuple[int, int]:
        """Height and width: one number for both, or two."""
        value = self.get(name, default)
        both = [value, value] if type(value) is int else value
        if not isinstance(both, list | tuple) or len(both) != 2 or not all(type(n) is int and n >= 1 for n in both):
            raise self.refuse(name, "expected one or two whole numbers above zero")
        return both[0], both[1]

    def classes(self) -> int:
        """How many classes a head scores."""
        names = self.get("id2label", None)
        if names is not None and not (isinstance(names, dict) and names):
            raise self.refuse("id2label", "expected a name for each class")
        count = len(names) if names else 2
        self.only("num_labels", count)
        return count

    def real(self, name: str, default: Any = _REQUIRED) -> float:
        value = self.get(name, default)
        if type(value) not in (int, float):
            raise self.refuse(name, "expected a number")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "expected true or false")
        return value

    def activation(self, name: str, default: str) -> Spec:
        value = self.get(name, default)
        if str(value) not in ACTIVATIONS:
            raise self.refuse(name, f"known are {', '.join(ACTIVATIONS)}")
        return activation(ACTIVATIONS[value])

    def only(self, name: str, value: Any, *others: Any) -> None:
        """A setting that must have this value, or one of others, where it is there at all."""
        found = value if name not in self.config else self.get(name, None)
        if found not in (value, *others):
            raise self.refuse(name, f"only {value!r} is known here")

    def neutral(self, *names: str) -> None:
        """Settings (patterns) that do not change what the model computes in inference."""
        self.free += names

    def positive(self, name: str, default: Any = _REQUIRED) -> float:
        """A number above zero, and a finite one."""
        value = self.real(name, default)
        if not 0 < value < math.inf:
            raise self.refuse(name, "expected a number above zero")
        return float(value)

    def window(self, name: str = "sliding_window", default: int | None = None) -> Spec | None:
        """The pattern of a window of so many tokens, the own one counted; None where it is null."""
        width = self.whole(name, None if name in self.config else default)
        return None if width is None else pattern("band", window=width)

    def cap(self, name: str, default: float | None = None) -> float | None:
        """A bound above zero; None where it is null."""
        found = self.get(name, None if name in self.config else default)
        return None if found is None else self.positive(name, default)

    def groups(self, heads: int, default: int | None = None, name: str = "num_key_value_heads") -> int:
        """The number of heads of keys and values; null: as many as queries have."""
        return self.whole(name, None if name in self.config else default) or heads

    def kinds(self, layers: int, known: Sequence[str], usual: Callable[[int], str], name: str = "layer_types") -> Any:
        """The type of every layer, as the config lists them, or as its class works them out from their numbers."""
        found = self.get(name, None)
        if found is None:
            found = [usual(number) for number in range(layers)]
        if not isinstance(found, list) or len(found) != layers or not set(map(str, found)) <= set(known):
            raise self.refuse(name, f"expected {layers} times {' or '.join(map(str, known))}")
        return found

    def rope(self, head_dim: int, length: int, **how: Any) -> Spec:
        """The rotary positions of heads of so many channels, `interop/rope.py` says how."""
        found = rope(self, head_dim, length, **how)
        if found is None:
            raise self.refuse("rope_theta", "it has no value")
        return found

    def rope_base(self) -> float | None:
        """The base of plain rotary positions, from the present or the older form; None where it is null."""
        found = rope(self, 2, 2)
        if found is not None and found.name != "rope":
            name = next(name for name in ("rope_parameters", "rope_scaling") if self.config.get(name))
            raise self.refuse(name, "only plain rotary positions are known here")
        return None if found is None else found["base"]

    def finish(self) -> None:
        """Refuse what nobody read."""
        for name, value in self.config.items():
            if name in self.seen or any(fnmatchcase(name, pattern) for pattern in self.free):
                continue
            if name in PLAIN and (type(value), value) == (type(PLAIN[name]), PLAIN[name]):
                continue
            raise self.refuse(name, f"it is not known; where it changes nothing, pass ignore=({name!r},)")


def _special(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"__float__"}
