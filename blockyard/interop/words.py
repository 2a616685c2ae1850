"""What a model of ours is in the words of config.json: a function for each setting, of whatever family.

The map of a family reads settings one by one. To write one, all words are worked out, the map reads those that it
knows, and these are the file: so a family says once what its settings mean, and a word once how it is found. Whether
what was written means the same model is not trusted but read again.
"""

import math
from collections.abc import Callable
from typing import Any

from blockyard.core.part import Part
from blockyard.interop.fields import ACTIVATIONS
from blockyard.interop.layout import FULL, SLIDING
from blockyard.interop.same import resolved
from blockyard.model.model import Model

ABSENT: Any = object()  # a word that this model has no value for


class Told:
    """A model that is asked for words."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.first: dict[str, Part] = {}  # the first part of each kind and of each name in the steps
        for part in model.parts():
            if part.path.startswith("steps."):
                self.first.setdefault(part.spec.kind, part)
                self.first.setdefault(f"{part.spec.kind}:{part.spec.name}", part)
        self.learned = {path for path, _ in [*model.named_parameters(), *model.named_buffers()]}

    def axis(self, part: str, name: str) -> Any:
        """The size of an axis of the first such part."""
        found = self.first.get(part)
        axis = None if found is None else self.model.axes.get(f"{found.path}.{name}")
        return ABSENT if axis is None else axis.size

    def setting(self, part: str, name: str, usual: Any = ABSENT) -> Any:
        """A setting of the first such part."""
        found = self.first.get(part)
        return usual if found is None else resolved(found, name)

    def biased(self, part: str, name: str) -> bool:
        """Whether a projection of the first such part has a bias."""
        found = self.first.get(part)
        return found is not None and f"{found.path}.{name}.bias" in self.learned

    def layers(self) -> list[Part]:
        """What mixes in each layer: its first sublayer."""
        steps = [self.model.get_submodule(f"steps.{found[0]}.part") for found in self.model.depth.blocks]
        return [step for step in steps if isinstance(step, Part)]


def _slot(part: Part, name: str) -> Part | None:
    """The part in a slot of another."""
    found = dict(part.named_children()).get(name)
    return found if isinstance(found, Part) else None


def _product(told: Told, part: str, *names: str) -> Any:
    sizes = [told.axis(part, name) for name in names]
    return ABSENT if ABSENT in sizes else math.prod(sizes)


def _head_dim(told: Told) -> Any:
    found = told.axis("mixer:attention", "head_dim")
    return told.axis("mixer:mamba2", "head_dim") if found is ABSENT else found


def _channel(told: Told, expert: bool) -> Part | None:
    """The first channel that widens tokens: an expert, or one that is none."""
    for part in told.model.parts():
        wide = part.spec.kind == "channel" and f"{part.path}.inner" in told.model.axes
        if wide and (".experts." in part.path) == expert:
            return part
    return None


def _wide(told: Told, *experts: bool) -> Any:
    """The inner channels of the first that there is of these."""
    found = next((part for expert in experts if (part := _channel(told, expert)) is not None), None)
    return ABSENT if found is None else told.model.axes[f"{found.path}.inner"].size


def _act(told: Told) -> Any:
    found = _channel(told, False) or _channel(told, True)
    act = None if found is None else _slot(found, "activation")
    if act is None:
        return ABSENT
    return next((word for word, name in ACTIVATIONS.items() if name == act.spec.name), ABSENT)


def _eps(told: Told) -> Any:
    norm = _slot(told.model.head, "norm")
    return ABSENT if norm is None else resolved(norm, "eps")


def _kind(layer: Part) -> str:
    if layer.spec.name != "attention":
        return "linear_attention"
    return FULL if _slot(layer, "pattern") is None else SLIDING


def _window(told: Told) -> Any:
    seen = [pattern for layer in told.layers() if (pattern := _slot(layer, "pattern")) is not None]
    return resolved(seen[0], "window") if seen else None


def _scale(told: Told) -> Any:
    attention = told.first.get("mixer:attention")
    weigh = None if attention is None else _slot(attention, "weigh")
    return ABSENT if weigh is None else resolved(weigh, "scale") or told.axis("mixer:attention", "head_dim") ** -0.5


def _scalar(told: Told) -> Any:
    """The whole number whose root divides scores; their classes take no other."""
    found = _undone(lambda x: x**-0.5, _scale(told), lambda scale: scale**-2)
    return int(found) if found is not ABSENT and found == int(found) else ABSENT


def _cap(part: Part | None, slot: str) -> Any:
    found = None if part is None else _slot(part, slot)
    return resolved(found, "cap") if found is not None and found.spec.name == "softcap" else None


def _undone(does: Callable[[float], float], wanted: Any, near: Callable[[Any], float]) -> Any:
    """The number of which a map makes the wanted one, to the last bit where there is one."""
    if wanted is ABSENT or not wanted:
        return ABSENT
    about = near(wanted)
    tried = [float(round(about)), about, math.nextafter(about, 0), math.nextafter(about, math.inf)]
    return next((one for one in tried if one and does(one) == wanted), about)


def _turned(told: Told) -> list[int]:
    return [int(_slot(layer, "position") is not None) for layer in told.layers()]


def scheme(position: Part | None) -> Any:
    """Rotary positions as `rope_parameters` says them."""
    if position is None:
        return {"rope_type": "default", "rope_theta": None}
    if position.spec.name == "partial_rope":
        inner = _slot(position, "of")
        found = {"rope_type": "default", "rope_theta": resolved(position, "base")} if inner is None else scheme(inner)
        return ABSENT if found is ABSENT else found | {"partial_rotary_factor": resolved(position, "share")}
    kinds = {
        "rope": ("default", {}),
        "interpolated": ("linear", {"factor": "factor"}),
        "dynamic_ntk": ("dynamic", {"factor": "factor"}),
        "llama3": ("llama3", {
            "factor": "factor", "high_freq_factor": "fast", "low_freq_factor": "slow",
            "original_max_position_embeddings": "trained",
        }),
        "yarn": ("yarn", {
            "factor": "factor", "beta_fast": "fast", "beta_slow": "slow", "attention_factor": "grown",
            "original_max_position_embeddings": "trained",
        }),
        "longrope": ("longrope", {
            "short_factor": "short", "long_factor": "long", "attention_factor": "grown",
            "original_max_position_embeddings": "trained",
        }),
    }  # fmt: skip
    if position.spec.name not in kinds:
        return ABSENT
    word, named = kinds[position.spec.name]
    said = {theirs: resolved(position, ours) for theirs, ours in named.items()}
    said = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
    if "attention_factor" in said and position.spec.get("grown") is None:
        del said["attention_factor"]  # it follows from the factor, there as here
    return {"rope_type": word, "rope_theta": resolved(position, "base"), **said}


def _rope(told: Told) -> Any:
    attention = told.first.get("mixer:attention")
    turning = [_slot(layer, "position") for layer in told.layers() if layer.spec.name == "attention"]
    return ABSENT if attention is None else scheme(next((each for each in turning if each is not None), None))


def by_type(model: Model) -> Any:
    """`rope_parameters` where each type of layer has positions of its own; ABSENT where no type has."""
    found: dict[str, Any] = {}
    for layer in Told(model).layers():
        if layer.spec.name == "attention":
            found.setdefault(_kind(layer), scheme(_slot(layer, "position")))
    if not found or ABSENT in found.values():
        return ABSENT
    return {kind: found.get(kind, next(iter(found.values()))) for kind in (FULL, SLIDING)}


def _longest(told: Told) -> Any:
    """Tokens of the longest text: what positions are carried to, or the model was built for."""
    position = next((each for layer in told.layers() if (each := _slot(layer, "position")) is not None), None)
    inner = None if position is None else _slot(position, "of") or position
    found = None if inner is None else resolved(inner, "carried") or resolved(inner, "trained")
    return found or told.model.spec.get("length") or ABSENT


def _trained(told: Told) -> Any:
    said = _rope(told)
    return ABSENT if said is ABSENT else said.get("original_max_position_embeddings", ABSENT)


def _learned_positions(told: Told) -> Any:
    axis = told.model.axes.get("stem.position.length")
    return ABSENT if axis is None else axis.size


def _expand(told: Told) -> Any:
    inner = told.axis("mixer:mamba", "inner")
    inner = _product(told, "mixer:mamba2", "groups", "heads", "head_dim") if inner is ABSENT else inner
    if inner is ABSENT:
        return ABSENT
    share = inner / told.model.stream.size
    return int(share) if share == int(share) else share


def _either(*found: Any) -> Any:
    return next((value for value in found if value is not ABSENT), ABSENT)


def _rank(told: Told) -> Any:
    return told.axis("mixer:mamba", "rank")


def _inner(told: Told) -> Any:
    return _either(_wide(told, False, True), told.axis("mixer:mamba", "inner"))


def _router(told: Told, name: str) -> Any:
    experts = told.first.get("channel:experts")
    router = None if experts is None else _slot(experts, "router")
    return ABSENT if router is None else resolved(router, name)


def _shares(told: Told) -> Any:
    """Whether the experts of a token share one."""
    return "router:top_softmax" in told.first if "channel:experts" in told.first else ABSENT


def _dense(told: Told) -> Any:
    """The numbers of the layers that have no experts where others have."""
    with_experts = {part.path for part in told.model.parts() if part.spec.name == "experts"}
    if not with_experts:
        return ABSENT
    layers = enumerate(told.model.depth.blocks)
    return [number for number, steps in layers if not any(f"steps.{step}.part" in with_experts for step in steps)]


def _inside(told: Told) -> Any:
    """The eps of the norms inside of a Mamba."""
    mamba = told.first.get("mixer:mamba")
    norm = None if mamba is None else _slot(mamba, "dt_norm")
    return ABSENT if norm is None else resolved(norm, "eps")


def _conv_bias(told: Told) -> bool:
    return any(path.endswith("part.conv.bias") for path in told.learned)


def _attention_biased(told: Told) -> bool:
    return told.biased("mixer:attention", "qkv")


def _negative(told: Told) -> Any:
    most = told.setting("mixer:gated_deltanet", "beta_max")
    return ABSENT if most is ABSENT else most == 2.0


def _delta_heads(told: Told) -> Any:
    return told.axis("mixer:gated_deltanet", "heads")


def _heads(told: Told) -> Any:
    return _product(told, "mixer:attention", "kv", "group")


def _layers(told: Told) -> Any:
    return len(told.model.depth.plan())


def _width(told: Told) -> Any:
    return told.model.stream.size


WORDS: dict[str, Callable[[Told], Any]] = {
    "hidden_size": _width, "n_embd": _width, "d_model": _width,
    "num_hidden_layers": _layers, "n_layer": _layers,
    "vocab_size": lambda told: told.model.axes["stem.vocab"].size,
    "tie_word_embeddings": lambda told: "head.table" not in told.learned,
    "num_attention_heads": _heads, "n_head": _heads,
    "num_key_value_heads": lambda told: told.axis("mixer:attention", "kv"),
    "head_dim": _head_dim,
    "intermediate_size": _inner, "n_inner": _inner, "d_inner": _inner,
    "rms_norm_eps": _eps, "layer_norm_eps": _eps, "norm_epsilon": _eps, "layer_norm_epsilon": _eps,
    "norm_eps": _eps, "mixer_rms_eps": _inside,
    "num_experts": lambda told: told.setting("channel:experts", "experts"),
    "num_local_experts": lambda told: told.setting("channel:experts", "experts"),
    "num_experts_per_tok": lambda told: _router(told, "top"),
    "norm_topk_prob": _shares, "mlp_only_layers": _dense,
    "moe_intermediate_size": lambda told: _wide(told, True),
    "hidden_act": _act, "hidden_activation": _act, "activation_function": _act,
    "attention_bias": _attention_biased, "use_qkv_bias": _attention_biased, "use_bias": _attention_biased,
    "mlp_bias": lambda told: told.biased("channel", "up"),
    "sliding_window": _window,
    "use_sliding_window": lambda told: _window(told) is not None,
    "layer_types": lambda told: [_kind(layer) for layer in told.layers()],
    "no_rope_layers": _turned,
    "query_pre_attn_scalar": _scalar,
    "attention_multiplier": _scale,
    "attn_logit_softcapping": lambda told: _cap(told.first.get("mixer:attention"), "weigh"),
    "final_logit_softcapping": lambda told: _cap(told.model.head, "activation"),
    "embedding_multiplier": lambda told: resolved(told.model.stem, "scale"),
    "logits_scaling": lambda told: _undone(lambda x: 1 / x, resolved(told.model.head, "scale"), lambda x: 1 / x),
    "residual_multiplier": lambda told: told.setting("residual:multiplied", "factor"),
    "use_parallel_residual": lambda told: "residual:parallel" in told.first,
    "rope_parameters": _rope,
    "original_max_position_embeddings": _trained,
    "max_position_embeddings": _longest,
    "n_positions": _learned_positions,
    "expand": _expand,
    "state_size": lambda told: _either(told.axis("mixer:mamba", "state"), told.axis("mixer:mamba2", "state")),
    "time_step_rank": _rank,
    "n_groups": lambda told: told.axis("mixer:mamba2", "groups"),
    "num_heads": lambda told: _product(told, "mixer:mamba2", "groups", "heads"),
    "conv_kernel": lambda told: told.setting("mixer:short_conv", "width"),
    "use_conv_bias": _conv_bias,
    "linear_num_value_heads": _delta_heads, "linear_num_key_heads": _delta_heads,
    "linear_key_head_dim": lambda told: told.axis("mixer:gated_deltanet", "key_dim"),
    "linear_value_head_dim": lambda told: told.axis("mixer:gated_deltanet", "value_dim"),
    "linear_conv_kernel_dim": lambda told: told.setting("mixer:short_conv", "width"),
    "linear_allow_neg_eigval": _negative,
}  # fmt: skip


def words(model: Model) -> dict[str, Any]:
    """Every word that this model has a value for."""
    told = Told(model)
    found = {word: say(told) for word, say in WORDS.items()}
    return {word: value for word, value in found.items() if value is not ABSENT}
