"""What a model of ours is in the words of config.json: a function for each setting, of whatever family.

The map of a family reads settings one by one. To write one, all words are worked out, the map reads those that it
knows, and these are the file: so a family says once what its settings mean, and a word once how it is found. Whether
what was written means the same model is not trusted but read again. What a word means in one family alone stands in the
file of that family, as its `WORDS`.
"""

import math
from collections.abc import Callable, Mapping
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
        self.root = model.stem.path.removesuffix("stem")  # of a tower inside of another model
        self.first: dict[str, Part] = {}  # the first part of each kind and of each name in the steps
        for part in model.own_parts():
            if part.path.startswith(f"{self.root}steps."):
                self.first.setdefault(part.spec.kind, part)
                self.first.setdefault(f"{part.spec.kind}:{part.spec.name}", part)
        self.paths = {part.path for part in model.parts()}
        self.learned = {path for path, _ in [*model.named_parameters(), *model.named_buffers()]}

    def size(self, path: str) -> Any:
        """The size of an axis of the model."""
        axis = self.model.axes.get(f"{self.root}{path}")
        return ABSENT if axis is None else axis.size

    def axis(self, part: str, name: str) -> Any:
        """The size of an axis of the first such part."""
        found = self.first.get(part)
        axis = None if found is None else self.model.axes.get(f"{found.path}.{name}")
        return ABSENT if axis is None else axis.size

    def product(self, part: str, *names: str) -> Any:
        """The channels of several axes of the first such part."""
        sizes = [self.axis(part, name) for name in names]
        return ABSENT if ABSENT in sizes else math.prod(sizes)

    def setting(self, part: str, name: str, usual: Any = ABSENT) -> Any:
        """A setting of the first such part."""
        found = self.first.get(part)
        return usual if found is None else resolved(found, name)

    def top(self) -> Any:
        """How many experts a token goes to; one where there are none."""
        router = slot(self.first.get("channel:experts"), "router")
        return 1 if router is None else resolved(router, "top")

    def biased(self, part: str, name: str) -> bool:
        """Whether a projection of the first such part has a bias."""
        found = self.first.get(part)
        return found is not None and f"{found.path}.{name}.bias" in self.learned

    def layers(self) -> list[Part]:
        """What mixes in each layer: its first sublayer."""
        steps = [self.model.get_submodule(f"steps.{found[0]}.part") for found in self.model.depth.blocks]
        return [step for step in steps if isinstance(step, Part)]

    def attentions(self) -> list[Part]:
        """The attention of each layer that has one, also beside or inside of something else."""
        return [found for layer in self.layers() if (found := attention_of(layer)) is not None]

    def wide(self, *places: str) -> Any:
        """The inner channels of the first channel in the first of these places that has one: of a step ("alone"), of
        experts ("expert"), or beside those ("shared")."""
        found = next((part for place in places if (part := self.channel(place)) is not None), None)
        return ABSENT if found is None else self.model.axes[f"{found.path}.inner"].size

    def channel(self, place: str) -> Part | None:
        """The first channel that widens tokens in such a place."""
        for part in self.model.own_parts():
            if part.spec.kind == "channel" and f"{part.path}.inner" in self.model.axes:
                where = "expert" if ".experts." in part.path else "shared" if part.path.endswith(".shared") else "alone"
                if where == place:
                    return part
        return None

    def act(self, *places: str) -> Any:
        """The word for the activation of the first such channel."""
        found = next((part for place in places if (part := self.channel(place)) is not None), None)
        return ABSENT if found is None else act_word(slot(found, "activation"))


def act_word(found: Part | None) -> Any:
    """The word for an activation."""
    if found is None:
        return ABSENT
    return next((word for word, name in ACTIVATIONS.items() if name == found.spec.name), ABSENT)


def attention_of(layer: Part) -> Part | None:
    """The attention that a layer's mixer is, or has inside."""
    every = (part for part in layer.modules() if isinstance(part, Part) and part.spec.kind == "mixer")
    return next((part for part in every if part.spec.name == "attention"), None)


def slot(part: Part | None, name: str) -> Part | None:
    """The part in a slot of another."""
    found = None if part is None else dict(part.named_children()).get(name)
    return found if isinstance(found, Part) else None


def _head_dim(told: Told) -> Any:
    found = told.axis("mixer:attention", "head_dim")
    return told.axis("mixer:mamba2", "head_dim") if found is ABSENT else found


def _act(told: Told) -> Any:
    return told.act("alone", "expert", "shared")


def _eps(told: Told) -> Any:
    norm = slot(told.model.head, "norm") or slot(told.first.get("residual"), "norm")
    return ABSENT if norm is None else resolved(norm, "eps")


def _kind(layer: Part) -> str:
    found = attention_of(layer)
    if found is None:
        return "linear_attention"
    return FULL if slot(found, "pattern") is None else SLIDING


def window(told: Told) -> Any:
    """Tokens that the first layer with a window reads; None where no layer has one."""
    seen = [pattern for found in told.attentions() if (pattern := slot(found, "pattern")) is not None]
    return resolved(seen[0], "window") if seen else None


def _scale(told: Told) -> Any:
    attention = told.first.get("mixer:attention")
    weigh = None if attention is None else slot(attention, "weigh")
    return ABSENT if weigh is None else resolved(weigh, "scale") or told.axis("mixer:attention", "head_dim") ** -0.5


def _scalar(told: Told) -> Any:
    """The whole number whose root divides scores; their classes take no other."""
    found = undone(lambda x: x**-0.5, _scale(told), lambda scale: scale**-2)
    return int(found) if found is not ABSENT and found == int(found) else ABSENT


def _cap(part: Part | None, name: str) -> Any:
    found = slot(part, name)
    return resolved(found, "cap") if found is not None and found.spec.name == "softcap" else None


def undone(does: Callable[[float], float], wanted: Any, near: Callable[[Any], float]) -> Any:
    """The number of which a map makes the wanted one, to the last bit where there is one."""
    if wanted is ABSENT or not wanted:
        return ABSENT
    about = near(wanted)
    tried = [float(round(about)), about, math.nextafter(about, 0), math.nextafter(about, math.inf)]
    return next((one for one in tried if one and does(one) == wanted), about)


def _turned(told: Told) -> list[int]:
    return [int(slot(attention_of(layer), "position") is not None) for layer in told.layers()]


def scheme(position: Part | None) -> Any:
    """Rotary positions as `rope_parameters` says them."""
    if position is None:
        return {"rope_type": "default", "rope_theta": None}
    if position.spec.name == "partial_rope":
        inner = slot(position, "of")
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
    turning = [slot(each, "position") for each in told.attentions()]
    return scheme(next((each for each in turning if each is not None), None)) if turning else ABSENT


def by_type(model: Model) -> Any:
    """`rope_parameters` where each type of layer has positions of its own; ABSENT where no type has."""
    found: dict[str, Any] = {}
    for each in Told(model).attentions():
        found.setdefault(_kind(each), scheme(slot(each, "position")))
    if not found or ABSENT in found.values():
        return ABSENT
    return {kind: found.get(kind, next(iter(found.values()))) for kind in (FULL, SLIDING)}


def _longest(told: Told) -> Any:
    """Tokens of the longest text: what positions are carried to, or the model was built for."""
    learned = _learned_positions(told)
    position = next((each for found in told.attentions() if (each := slot(found, "position")) is not None), None)
    inner = slot(position, "of") or position
    found = None if inner is None else resolved(inner, "carried") or resolved(inner, "trained")
    return _either(learned, found or told.model.spec.get("length") or ABSENT)


def _trained(told: Told) -> Any:
    said = _rope(told)
    return ABSENT if said is ABSENT else said.get("original_max_position_embeddings", ABSENT)


def _learned_positions(told: Told) -> Any:
    return told.size("stem.position.length")


def embedded(told: Told) -> Any:
    """The width of the table of tokens."""
    return told.size("stem.embed") if told.size("stem.embed") is not ABSENT else told.model.stream.size


def image_size(told: Told) -> Any:
    """Height and width of the images that the stem reads."""
    return [resolved(told.model.stem, name) for name in ("height", "width")]


def _labels(told: Told) -> Any:
    """Names of the classes that the head scores."""
    classes = told.size("head.classes")
    return ABSENT if classes is ABSENT else {str(number): f"LABEL_{number}" for number in range(classes)}


def _state(told: Told) -> Any:
    return _either(told.axis("mixer:mamba", "state"), told.axis("mixer:mamba2", "state"))


def _shared(told: Told) -> Any:
    return told.wide("shared", "alone")


def _expand(told: Told) -> Any:
    inner = told.axis("mixer:mamba", "inner")
    inner = told.product("mixer:mamba2", "groups", "heads", "head_dim") if inner is ABSENT else inner
    if inner is ABSENT:
        return ABSENT
    share = inner / told.model.stream.size
    return int(share) if share == int(share) else share


def _either(*found: Any) -> Any:
    return next((value for value in found if value is not ABSENT), ABSENT)


def _rank(told: Told) -> Any:
    return told.axis("mixer:mamba", "rank")


def _inner(told: Told) -> Any:
    return _either(told.wide("alone", "expert", "shared"), told.axis("mixer:mamba", "inner"))


def _shares(told: Told) -> Any:
    """Whether the experts of a token share one."""
    return "router:top_softmax" in told.first if "channel:experts" in told.first else ABSENT


def _dense(told: Told) -> Any:
    """The numbers of the layers that have no experts."""
    with_experts = {".".join(p.path.split(".")[:2]) for p in told.model.parts() if p.spec.name == "experts"}
    layers = enumerate(told.model.depth.blocks)
    return [number for number, steps in layers if not any(f"steps.{step}" in with_experts for step in steps)]


def _inside(told: Told) -> Any:
    """The eps of the norms inside of a Mamba."""
    mamba = told.first.get("mixer:mamba")
    norm = None if mamba is None else slot(mamba, "dt_norm")
    return ABSENT if norm is None else resolved(norm, "eps")


def _conv_bias(told: Told) -> bool:
    return any(path.endswith(".conv.bias") for path in told.learned)


def _attention_biased(told: Told) -> bool:
    return told.biased("mixer:attention", "qkv")


def _negative(told: Told) -> Any:
    most = told.setting("mixer:gated_deltanet", "beta_max")
    return ABSENT if most is ABSENT else most == 2.0


def _delta_heads(told: Told) -> Any:
    shared = told.product("mixer:gated_deltanet", "heads", "group")
    return told.axis("mixer:gated_deltanet", "heads") if shared is ABSENT else shared


def _heads(told: Told) -> Any:
    return told.product("mixer:attention", "kv", "group")


def _layers(told: Told) -> Any:
    return len(told.model.depth.plan())


def _width(told: Told) -> Any:
    return told.model.stream.size


WORDS: dict[str, Callable[[Told], Any]] = {
    "hidden_size": _width, "n_embd": _width, "d_model": _width,
    "num_hidden_layers": _layers, "n_layer": _layers,
    "vocab_size": lambda told: told.size("stem.vocab"),
    "tie_word_embeddings": lambda told: "head.table" not in told.learned,
    "num_attention_heads": _heads, "n_head": _heads,
    "num_key_value_heads": lambda told: told.axis("mixer:attention", "kv"),
    "head_dim": _head_dim,
    "intermediate_size": _inner, "n_inner": _inner, "d_inner": _inner,
    "rms_norm_eps": _eps, "layer_norm_eps": _eps, "norm_epsilon": _eps, "layer_norm_epsilon": _eps,
    "norm_eps": _eps, "mixer_rms_eps": _inside,
    **dict.fromkeys(("num_experts", "num_local_experts"), lambda told: told.setting("channel:experts", "experts", 1)),
    "num_experts_per_tok": lambda told: told.top(),
    "norm_topk_prob": _shares, "mlp_only_layers": _dense,
    "moe_intermediate_size": lambda told: told.wide("expert", "alone"),
    **dict.fromkeys(("hidden_act", "hidden_activation", "activation_function"), _act),
    "attention_bias": _attention_biased, "use_qkv_bias": _attention_biased, "use_bias": _attention_biased,
    "mlp_bias": lambda told: told.biased("channel", "up"),
    "sliding_window": window,
    "use_sliding_window": lambda told: window(told) is not None,
    "layer_types": lambda told: [_kind(layer) for layer in told.layers()],
    "no_rope_layers": _turned,
    "query_pre_attn_scalar": _scalar,
    "attention_multiplier": _scale,
    "attn_logit_softcapping": lambda told: _cap(told.first.get("mixer:attention"), "weigh"),
    "final_logit_softcapping": lambda told: _cap(told.model.head, "activation"),
    "embedding_multiplier": lambda told: resolved(told.model.stem, "scale"),
    "logits_scaling": lambda told: undone(lambda x: 1 / x, resolved(told.model.head, "scale"), lambda x: 1 / x),
    "residual_multiplier": lambda told: told.setting("residual:multiplied", "factor"),
    "use_parallel_residual": lambda told: "residual:parallel" in told.first,
    "rope_parameters": _rope,
    "original_max_position_embeddings": _trained,
    "max_position_embeddings": _longest,
    "n_positions": _learned_positions,
    "expand": _expand,
    "state_size": _state, "time_step_rank": _rank,
    "n_groups": lambda told: told.axis("mixer:mamba2", "groups"),
    "num_heads": lambda told: told.product("mixer:mamba2", "groups", "heads"),
    "conv_kernel": lambda told: told.setting("mixer:short_conv", "width"),
    "use_conv_bias": _conv_bias,
    "linear_num_key_heads": lambda told: told.axis("mixer:gated_deltanet", "heads"),
    "linear_num_value_heads": _delta_heads,
    "linear_key_head_dim": lambda told: told.axis("mixer:gated_deltanet", "key_dim"),
    "linear_value_head_dim": lambda told: told.axis("mixer:gated_deltanet", "value_dim"),
    "linear_conv_kernel_dim": lambda told: told.setting("mixer:short_conv", "width"),
    "linear_allow_neg_eigval": _negative,
    **dict.fromkeys(("shared_intermediate_size", "shared_expert_intermediate_size"), _shared),
    "qkv_bias": _attention_biased,
    "mamba_expand": _expand,
    "mamba_d_ssm": lambda told: told.product("mixer:mamba2", "groups", "heads", "head_dim"),
    "mamba_n_heads": lambda told: _either(told.product("mixer:mamba2", "groups", "heads"), 1),  # one where none is
    "mamba_d_head": lambda told: told.axis("mixer:mamba2", "head_dim"),
    "mamba_n_groups": lambda told: told.axis("mixer:mamba2", "groups"),
    "mamba_d_state": _state, "mamba_dt_rank": _rank,
    "mamba_d_conv": lambda told: told.setting("mixer:short_conv", "width"),
    "mamba_conv_bias": _conv_bias,
    "mamba_proj_bias": lambda told: told.biased("mixer:mamba2", "proj"),
    "type_vocab_size": lambda told: told.size("stem.kinds"),
    "id2label": _labels,
}  # fmt: skip


def words(model: Model, own: Mapping[str, Callable[[Told], Any]] | None = None) -> dict[str, Any]:
    """Every word that this model has a value for; `own`: what words mean in one family alone."""
    told = Told(model)
    found = {word: say(told) for word, say in {**WORDS, **(own or {})}.items()}
    return {word: value for word, value in found.items() if value is not ABSENT}
