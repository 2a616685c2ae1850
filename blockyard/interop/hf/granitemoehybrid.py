"""Granite 4: Mamba-2 layers, attention in some, and in all a channel for every token, alone or beside experts."""

from blockyard.core.spec import Spec, channel
from blockyard.interop.experts import (
    MAMBA,
    OPEN,
    STACKED,
    attention,
    biased,
    experts,
    gated,
    granite,
    mamba2,
    moved,
    per_head,
    rms_of,
    scores,
)
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, IGNORED
from blockyard.interop.names import Names
from blockyard.interop.words import Told, attention_of, slot

OLD = {"mamba": "linear_attention", "attention": "full_attention"}  # what types of layers were called before


def spec(fields: Fields) -> Spec:
    dim, layers = fields.whole("hidden_size"), fields.layers("num_hidden_layers")
    known = ["linear_attention", "full_attention", *OLD]
    types = [str(OLD.get(kind, kind)) for kind in fields.kinds(layers, known, lambda _: "linear_attention")]
    many = fields.get("num_local_experts", 8)  # none at 0
    channels = gated(fields, fields.whole("shared_intermediate_size", 1024))
    if many != 0:
        routed = experts(fields, fields.whole("intermediate_size"), fields.whole("num_local_experts", 8))
        channels = channel("and_shared", routed=routed, shared=channels)
    fields.neutral("intermediate_size", "num_experts_per_tok", "output_router_logits", "router_aux_loss_coef")
    wide = fields.whole("mamba_expand", 2) * dim
    mixers = {
        "linear_attention": mamba2(fields, wide, rms_of(fields)["eps"]),
        "full_attention": attention(fields, _position(fields), weigh=scores(fields)),
    }
    kinds = [f"{kind}_{'dense' if many == 0 else 'experts'}" for kind in types]
    blocks = {kind: (mixers[one], channels) for kind, one in zip(kinds, types)}
    wanted = {
        "linear_attention": ("proj", "out") if fields.flag("mamba_proj_bias", False) else (),
        "full_attention": ("qkv", "out") if fields.flag("attention_bias", False) else (),
    }
    return biased(granite(fields, kinds, blocks), types, wanted)


def _position(fields: Fields) -> Spec | None:
    """Rotary positions where they are asked for by name."""
    if fields.get("position_embedding_type", None) == "rope":
        return fields.rope(per_head(fields), 2048)
    fields.neutral("rope_theta", "rope_parameters", "rope_scaling")  # nobody reads them then
    return None


_MIXERS = {"linear_attention": MAMBA, "full_attention": ATTENTION}
_CHANNELS = {
    "experts": moved(STACKED, "part.routed") | OPEN,
    "dense": {path.replace(".shared", ""): source for path, source in OPEN.items()},
}
ARCHITECTURE = "GraniteMoeHybridForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS,
    blocks={
        f"{mixes}_{channels}": (BEFORE[0] | _MIXERS[mixes], BEFORE[1] | _CHANNELS[channels])
        for mixes in _MIXERS
        for channels in _CHANNELS
    },
    ignored=IGNORED,
)


def _types(told: Told) -> list[str]:
    return ["linear_attention" if attention_of(layer) is None else "full_attention" for layer in told.layers()]


WORDS = {
    "layer_types": _types,
    "num_local_experts": lambda told: told.setting("channel:experts", "experts", 0),
    "position_embedding_type": lambda told: "rope" if any(slot(a, "position") for a in told.attentions()) else None,
}
