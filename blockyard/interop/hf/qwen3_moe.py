"""Qwen3 with experts: those of a token count by their share of all scores, or share one; some layers may have none."""

from blockyard.core.spec import Spec, residual
from blockyard.interop.experts import (
    EXPERTS,
    attention,
    count,
    experts,
    few,
    gated,
    per_head,
    rms_of,
    scheme,
)
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, GATED, HEAD_NORMS, IGNORED, decoder
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.only("use_sliding_window", False)
    fields.neutral("max_position_embeddings", "sliding_window", "max_window_layers")  # read with use_sliding_window
    layers, rms = fields.layers("num_hidden_layers"), rms_of(fields)
    head_dim = fields.whole("head_dim", None) or per_head(fields)
    mixes = attention(fields, fields.rope(head_dim, 32768), head_dim, norm=rms)
    many = count(fields, "num_experts", "num_local_experts")
    blocks = {
        "experts": (mixes, experts(fields, fields.whole("moe_intermediate_size"), many, scheme(fields, False), 8)),
        "dense": (mixes, gated(fields, fields.whole("intermediate_size"))),
    }
    return decoder(
        fields,
        ["dense" if alone else "experts" for alone in few(fields, layers)],
        blocks,
        residual("prenorm", norm=rms),
        norm=rms,
        tied=fields.flag("tie_word_embeddings", False),
        biased=("qkv", "out") if fields.flag("attention_bias", False) else (),
    )


_ATTENTION = BEFORE[0] | ATTENTION | HEAD_NORMS
ARCHITECTURE = "Qwen3MoeForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS,
    blocks={"experts": (_ATTENTION, BEFORE[1] | EXPERTS), "dense": (_ATTENTION, BEFORE[1] | GATED)},
    ignored=IGNORED,
)
