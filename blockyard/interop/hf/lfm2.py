"""LFM2: short convolutions between two gates, and attention in some layers."""

from blockyard.core.spec import Spec, channel, mixer, norm, residual
from blockyard.interop.experts import attention, biased, per_head, places
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, IGNORED, decoder
from blockyard.interop.names import Names
from blockyard.interop.words import Told, attention_of


def spec(fields: Fields) -> Spec:
    dim, layers = fields.whole("hidden_size"), fields.layers("num_hidden_layers")
    for name in ("block_dim", "conv_dim", "conv_dim_out"):
        fields.only(name, dim)
    fields.only("num_heads", fields.whole("num_attention_heads"))
    fields.only("block_use_swiglu", True)
    fields.only("use_pos_enc", True)
    fields.neutral("max_position_embeddings", "block_*_init*", "block_norm_eps", "conv_use_xavier_init", "theta")
    every = fields.get("full_attn_idxs", None) is None
    full = range(layers) if every else places(fields, "full_attn_idxs")
    kinds = fields.kinds(layers, list(NAMES.blocks), lambda n: "full_attention" if n in full else "conv")
    rms, bias = norm("rms", eps=fields.real("norm_eps", 1e-5)), fields.flag("conv_bias", False)
    conv = mixer("short_conv", width=fields.whole("conv_L_cache", 3), bias=bias, activation=None)
    position = fields.rope(per_head(fields), 128000, base=1e6)
    channels = channel("gated", inner=_inner(fields))
    tied = fields.flag("tie_embedding", fields.flag("tie_word_embeddings", True))
    system = decoder(
        fields,
        kinds,
        {
            "conv": (mixer("gated_conv", conv=conv), channels),
            "full_attention": (attention(fields, position, kv=8, norm=rms), channels),
        },
        residual("prenorm", norm=rms),
        norm=rms,
        tied=tied,
    )
    return biased(system, kinds, {"conv": ("proj", "out")}) if bias else system


def _inner(fields: Fields) -> int:
    """The width of the channels, which may be said as that of two matrices, to be rounded up."""
    wide = fields.whole("intermediate_size", None)
    wide = fields.whole("block_ff_dim", wide) or fields.whole("intermediate_size")
    adjusted = fields.flag("block_auto_adjust_ff_dim", True)
    factor, multiple = fields.get("block_ffn_dim_multiplier", 1.0), fields.whole("block_multiple_of", 256)
    if not adjusted:
        return wide
    wide = int(2 * wide / 3)
    if factor is None:
        return wide
    wide = int(fields.positive("block_ffn_dim_multiplier", 1.0) * wide)
    return multiple * -(-wide // multiple)


_CHANNELS = {
    "rule.norm.gain": "ffn_norm.weight",
    "part.up.weight": "feed_forward.w1.weight | feed_forward.w3.weight",
    "part.down.weight": "feed_forward.w2.weight",
}
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS | {"head.norm.gain": "model.embedding_norm.weight"},
    blocks={
        "conv": (
            {
                "rule.norm.gain": "operator_norm.weight",
                "part.proj.weight": "conv.in_proj.weight",
                "part.proj.bias": "conv.in_proj.bias",
                "part.conv.weight": "conv.conv.weight.depthwise",
                "part.conv.bias": "conv.conv.bias",
                "part.out.weight": "conv.out_proj.weight",
                "part.out.bias": "conv.out_proj.bias",
            },
            _CHANNELS,
        ),
        "full_attention": (
            {
                "rule.norm.gain": "operator_norm.weight",
                "part.qkv.weight": "self_attn.q_proj.weight | self_attn.k_proj.weight | self_attn.v_proj.weight",
                "part.q_norm.gain": "self_attn.q_layernorm.weight",
                "part.k_norm.gain": "self_attn.k_layernorm.weight",
                "part.out.weight": "self_attn.out_proj.weight",
            },
            _CHANNELS,
        ),
    },
    ignored=IGNORED,
)


def _types(told: Told) -> list[str]:
    return ["conv" if attention_of(layer) is None else "full_attention" for layer in told.layers()]


WORDS = {
    "layer_types": _types,
    "conv_bias": lambda told: told.biased("mixer:gated_conv", "proj"),
    "conv_L_cache": lambda told: told.setting("mixer:short_conv", "width", 3),
    "block_auto_adjust_ff_dim": lambda told: False,  # what is said is the width
}
