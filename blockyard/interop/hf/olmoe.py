"""OLMoE: queries and keys normalised over all heads, and experts in every layer."""

from blockyard.core.spec import Spec, residual
from blockyard.interop.experts import EXPERTS, attention, count, experts, per_head, rms_of, scheme
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, IGNORED, decoder
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.only("clip_qkv", None)
    fields.neutral("max_position_embeddings")
    layers, rms = fields.layers("num_hidden_layers"), rms_of(fields, default=1e-5)
    mixes = attention(fields, fields.rope(per_head(fields), 4096), norm_all=rms)
    many = count(fields, "num_experts", "num_local_experts")
    each = experts(fields, fields.whole("intermediate_size"), many, scheme(fields, False), 8)
    return decoder(
        fields,
        ["layer"] * layers,
        {"layer": (mixes, each)},
        residual("prenorm", norm=rms),
        norm=rms,
        tied=fields.flag("tie_word_embeddings", False),
        biased=("qkv", "out") if fields.flag("attention_bias", False) else (),
    )


_NORMS = {"part.q_all.gain": "self_attn.q_norm.weight", "part.k_all.gain": "self_attn.k_norm.weight"}
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS,
    blocks={"layer": (BEFORE[0] | ATTENTION | _NORMS, BEFORE[1] | EXPERTS)},
    ignored=IGNORED,
)
