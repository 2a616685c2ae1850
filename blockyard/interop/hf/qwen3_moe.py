"""Qwen3 with experts: a token's experts count by their share of all scores, or share one among themselves.

Some layers may have one channel in the place of experts.
"""

from blockyard.core.spec import Spec
from blockyard.interop import pieces
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.only("attention_bias", False)
    fields.only("use_sliding_window", False)
    fields.neutral("sliding_window", "max_window_layers")  # read with use_sliding_window only
    dim, rms = fields.whole("hidden_size"), pieces.rms(fields)
    head_dim = fields.whole("head_dim", None) or pieces.per_head(fields, dim)
    attention = pieces.attention(fields, dim, pieces.rope(fields, head_dim, 32768), head_dim, norm=rms)
    many = pieces.experts(
        fields,
        fields.whole("moe_intermediate_size"),
        pieces.count(fields, "num_experts", "num_local_experts"),
        pieces.scheme(fields, False),
        8,
    )
    layers = fields.layers("num_hidden_layers")
    blocks, laid = pieces.sparse(fields, {"layer": attention}, ["layer"] * layers, many)
    return pieces.decoder(fields, dim, blocks, laid, rms)


_ATTENTION = pieces.after("input_layernorm", pieces.ATTENTION | pieces.HEAD_NORMS)
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=pieces.ENDS,
    blocks={
        "layer_sparse": (_ATTENTION, pieces.after("post_attention_layernorm", pieces.EXPERTS)),
        "layer_dense": (_ATTENTION, pieces.after("post_attention_layernorm", pieces.GATED)),
    },
    ignored=("*rotary_emb.inv_freq",),
)
