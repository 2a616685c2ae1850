"""Jamba: Mamba with norms inside, attention without positions in some layers, experts in others."""

from collections.abc import Callable
from typing import Any

from blockyard.core.spec import Spec, mixer, residual
from blockyard.interop.experts import attention, count, experts, gated, moved, rms_of
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, ENDS, GATED, IGNORED, decoder
from blockyard.interop.names import Names
from blockyard.interop.words import ABSENT, Told, attention_of


def spec(fields: Fields) -> Spec:
    fields.only("mamba_proj_bias", False)
    fields.only("hidden_act", "silu")
    fields.neutral("max_position_embeddings", "num_logits_to_keep", "use_mamba*", "use_associative_scan")
    layers, rms = fields.layers("num_hidden_layers"), rms_of(fields)
    inner, many = fields.whole("intermediate_size"), count(fields, "num_experts", "num_local_experts")
    sublayers = {
        "mamba": _mamba(fields, rms),
        "attention": attention(fields, None, kv=8),
        "experts": experts(fields, inner, many, "top"),
        "dense": gated(fields, inner),
    }
    full, sparse = _every(fields, "attn_layer", 8, 4, layers), _every(fields, "expert_layer", 2, 1, layers)
    kinds = [
        f"{'attention' if n in full else 'mamba'}_{'experts' if n in sparse and many > 1 else 'dense'}"
        for n in range(layers)
    ]
    blocks = {kind: tuple(sublayers[part] for part in kind.split("_")) for kind in kinds}
    tied = fields.flag("tie_word_embeddings", False)
    return decoder(fields, kinds, blocks, residual("prenorm", norm=rms), norm=rms, tied=tied)


def _mamba(fields: Fields, rms: Spec) -> Spec:
    rank = fields.get("mamba_dt_rank", "auto")
    conv = mixer("short_conv", width=fields.whole("mamba_d_conv", 4), bias=fields.flag("mamba_conv_bias", True))
    return mixer(
        "mamba",
        inner=fields.whole("mamba_expand", 2) * fields.whole("hidden_size"),
        state=fields.whole("mamba_d_state", 16),
        rank=None if rank == "auto" else fields.whole("mamba_dt_rank"),
        conv=conv,
        norm=rms,
    )


def _every(fields: Fields, name: str, period: int, offset: int, layers: int) -> range:
    """The layers of which there is one in every period."""
    period, begin = fields.whole(f"{name}_period", period), fields.get(f"{name}_offset", offset)
    if type(begin) is not int or not 0 <= begin < period:
        raise fields.refuse(f"{name}_offset", f"expected a number from 0 to {period - 1}")
    return range(begin, layers, period)


_MIXERS = {
    "mamba": {
        "part.proj.weight": "mamba.in_proj.weight",
        "part.conv.weight": "mamba.conv1d.weight.depthwise",
        "part.conv.bias": "mamba.conv1d.bias",
        "part.x_proj.weight": "mamba.x_proj.weight",
        "part.dt_proj": "mamba.dt_proj.weight",
        "part.dt_bias": "mamba.dt_proj.bias",
        "part.dt_norm.gain": "mamba.dt_layernorm.weight",
        "part.b_norm.gain": "mamba.b_layernorm.weight",
        "part.c_norm.gain": "mamba.c_layernorm.weight",
        "part.A_log": "mamba.A_log",
        "part.D": "mamba.D",
        "part.out.weight": "mamba.out_proj.weight",
    },
    "attention": ATTENTION,
}
_CHANNELS = {
    "experts": {
        "part.router.weight": "feed_forward.router.weight",
        "part.experts.*.up.weight": (
            "feed_forward.experts.{}.gate_proj.weight | feed_forward.experts.{}.up_proj.weight"
        ),
        "part.experts.*.down.weight": "feed_forward.experts.{}.down_proj.weight",
    },
    "dense": moved(GATED, "part", "mlp.", "feed_forward."),
}
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS | {"head.norm.gain": "model.final_layernorm.weight"},
    blocks={
        f"{mixes}_{channels}": (
            {"rule.norm.gain": "input_layernorm.weight"} | _MIXERS[mixes],
            {"rule.norm.gain": "pre_ff_layernorm.weight"} | _CHANNELS[channels],
        )
        for mixes in _MIXERS
        for channels in _CHANNELS
    },
    ignored=IGNORED,
)


def _period(layers: list[bool]) -> tuple[int, int] | None:
    """Of layers that are so or not: one in how many is, from which on; None where they do not come at equal steps."""
    many = len(layers)
    tried = ((period, first) for period in range(1, many + 2) for first in range(period))
    return next((both for both in tried if layers == [n in range(both[1], many, both[0]) for n in range(many)]), None)


def _laid(are: Callable[[Told], list[bool]], which: int) -> Callable[[Told], Any]:
    return lambda told: ABSENT if (found := _period(are(told))) is None else found[which]


def _attends(told: Told) -> list[bool]:
    return [attention_of(layer) is not None for layer in told.layers()]


def _chooses(told: Told) -> list[bool]:
    return [f"steps.{steps[1]}.part.router" in told.paths for steps in told.model.depth.blocks if len(steps) > 1]


WORDS: dict[str, Callable[[Told], Any]] = {
    "attn_layer_period": _laid(_attends, 0), "attn_layer_offset": _laid(_attends, 1),
    "expert_layer_period": _laid(_chooses, 0), "expert_layer_offset": _laid(_chooses, 1),
}  # fmt: skip
