"""RecurrentGemma: real-gated linear recurrences, and attention to a window in some layers."""

from typing import Any

import torch

from blockyard.core.spec import Spec, activation, channel, mixer, norm, residual
from blockyard.interop.experts import attention, biased, per_head
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, IGNORED, decoder
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import ABSENT, Told, attention_of, slot, window


def spec(fields: Fields) -> Spec:
    dim, layers = fields.whole("hidden_size"), fields.layers("num_hidden_layers")
    fields.only("head_dim", per_head(fields))
    fields.neutral("w_init_variance_scale", "final_w_init_variance_scale", "max_position_embeddings")
    rms = norm("rms_unit_offset", eps=fields.real("rms_norm_eps", 1e-6))
    act = fields.activation("hidden_activation", "gelu_pytorch_tanh")
    wide = fields.whole("intermediate_size")
    if wide < 2:
        raise fields.refuse("intermediate_size", "half of it is the width of the channels")
    channels = channel("gated", inner=wide // 2, activation=act)
    position = fields.rope(per_head(fields), 8192, share=0.5)
    kinds = _laid(fields, layers)
    system = decoder(
        fields,
        kinds,
        {
            "recurrent": (_recurrence(fields, act), channels),
            "attention": (attention(fields, position, pattern=_window(fields)), channels),
        },
        residual("prenorm", norm=rms),
        norm=rms,
        tied=fields.flag("tie_word_embeddings", True),
        scale=float(torch.tensor(dim**0.5, dtype=torch.bfloat16)),  # as their class rounds it
        activation=activation("softcap", cap=fields.positive("logits_soft_cap", 30.0)),
        biased=("up", "down", "out"),
    )
    wanted = {"recurrent": ("proj",), "attention": ("qkv",) if fields.flag("attention_bias", False) else ()}
    return biased(system, kinds, wanted)


def _recurrence(fields: Fields, act: Spec) -> Spec:
    dim, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    wide = fields.whole("lru_width", None) or dim
    if wide % heads:
        raise fields.refuse("lru_width", f"num_attention_heads={heads} does not divide it")
    conv = mixer("short_conv", width=fields.whole("conv1d_width", 4), bias=True, activation=None)
    return mixer("rg_lru", inner=wide, heads=heads, conv=conv, activation=act)


def _window(fields: Fields) -> Spec | None:
    """The window, by the name of the class or by that of most others."""
    width = fields.whole("attention_window_size", 2048)
    fields.only("sliding_window", width)
    return fields.window("attention_window_size", 2048)


def _laid(fields: Fields, layers: int) -> list[str]:
    """The kinds of layers, listed for one period."""
    period = fields.get("block_types", None) or ["recurrent", "recurrent", "attention"]
    if not isinstance(period, list) or not set(map(str, period)) <= {"recurrent", "attention"}:
        raise fields.refuse("block_types", "expected a list of recurrent and attention")
    return [period[number % len(period)] for number in range(layers)]


_CHANNELS = {
    "rule.norm.gain": "channel_pre_norm.weight",
    "part.up.weight": "mlp_block.gate_proj.weight | mlp_block.up_proj.weight",
    "part.up.bias": "mlp_block.gate_proj.bias | mlp_block.up_proj.bias",
    "part.down.weight": "mlp_block.down_proj.weight",
    "part.down.bias": "mlp_block.down_proj.bias",
}
_BEFORE = {"rule.norm.gain": "temporal_pre_norm.weight"}
ARCHITECTURE = "RecurrentGemmaForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS | {"head.norm.gain": "model.final_norm.weight"},
    blocks={
        "recurrent": (
            _BEFORE
            | {
                "part.proj.weight": "temporal_block.linear_x.weight | temporal_block.linear_y.weight",
                "part.proj.bias": "temporal_block.linear_x.bias | temporal_block.linear_y.bias",
                "part.conv.weight": "temporal_block.conv_1d.weight.depthwise",
                "part.conv.bias": "temporal_block.conv_1d.bias",
                "part.keep_in": "temporal_block.rg_lru.recurrent_gate_weight.T flat",
                "part.keep_bias": "temporal_block.rg_lru.recurrent_gate_bias flat",
                "part.write_in": "temporal_block.rg_lru.input_gate_weight.T flat",
                "part.write_bias": "temporal_block.rg_lru.input_gate_bias flat",
                "part.rate": "temporal_block.rg_lru.recurrent_param",
                "part.out.weight": "temporal_block.linear_out.weight",
                "part.out.bias": "temporal_block.linear_out.bias",
            },
            _CHANNELS,
        ),
        "attention": (
            _BEFORE
            | {
                "part.qkv.weight": (
                    "temporal_block.q_proj.weight | temporal_block.k_proj.weight | temporal_block.v_proj.weight"
                ),
                "part.qkv.bias": (
                    "temporal_block.q_proj.bias | temporal_block.k_proj.bias | temporal_block.v_proj.bias"
                ),
                "part.out.weight": "temporal_block.o_proj.weight",
                "part.out.bias": "temporal_block.o_proj.bias",
            },
            _CHANNELS,
        ),
    },
    ignored=(*IGNORED, "*.normalizer"),
)


def _twice(told: Told) -> Any:
    """Half of what they say is the width of the channels."""
    found = told.wide("alone")
    return ABSENT if found is ABSENT else 2 * found


def _lru(told: Told) -> Any:
    return told.product("mixer:rg_lru", "heads", "head_dim")


def _types(told: Told) -> list[str]:
    return ["recurrent" if attention_of(layer) is None else "attention" for layer in told.layers()]


WORDS = {
    "intermediate_size": _twice,
    "lru_width": _lru,
    "attention_window_size": lambda told: window(told) or ABSENT,
    "sliding_window": lambda told: window(told) or ABSENT,
    "conv1d_width": lambda told: told.setting("mixer:short_conv", "width"),
    "logits_soft_cap": lambda told: resolved(act, "cap") if (act := slot(told.model.head, "activation")) else ABSENT,
    "block_types": _types,
}
