"""Qwen2 with experts, and beside them a channel that every token uses as far as a gate of its own opens it."""

from blockyard.core.spec import Spec, channel, residual
from blockyard.interop.experts import (
    EXPERTS,
    SHARED,
    attention,
    count,
    experts,
    few,
    gated,
    moved,
    per_head,
    rms_of,
    scheme,
)
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, GATED, IGNORED, decoder
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.only("use_sliding_window", False)
    fields.neutral("max_position_embeddings", "sliding_window", "max_window_layers")  # read with use_sliding_window
    layers, rms = fields.layers("num_hidden_layers"), rms_of(fields)
    fields.kinds(layers, ["full_attention"], lambda _: "full_attention")
    head_dim = fields.whole("head_dim", None) or per_head(fields)
    mixes = attention(fields, fields.rope(head_dim, 32768), head_dim, 16)
    many = experts(
        fields,
        fields.whole("moe_intermediate_size"),
        count(fields, "num_experts", "num_local_experts"),
        scheme(fields, False),
        4,
    )
    shared = gated(fields, fields.whole("shared_expert_intermediate_size"))
    blocks = {
        "experts": (mixes, channel("and_shared", routed=many, shared=shared, gate="sigmoid")),
        "dense": (mixes, gated(fields, fields.whole("intermediate_size"))),
    }
    return decoder(
        fields,
        ["dense" if alone else "experts" for alone in few(fields, layers)],
        blocks,
        residual("prenorm", norm=rms),
        norm=rms,
        tied=fields.flag("tie_word_embeddings", False),
        biased=("qkv",) if fields.flag("qkv_bias", True) else (),
    )


_ATTENTION = BEFORE[0] | ATTENTION
ARCHITECTURE = "Qwen2MoeForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS,
    blocks={
        "experts": (_ATTENTION, BEFORE[1] | moved(EXPERTS, "part.routed") | SHARED),
        "dense": (_ATTENTION, BEFORE[1] | GATED),
    },
    ignored=IGNORED,
)
