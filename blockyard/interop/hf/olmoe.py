"""OLMoE: queries and keys normalised over all heads, and experts in every layer."""

from blockyard.core.spec import Spec, block
from blockyard.interop import pieces
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.only("attention_bias", False)
    fields.only("clip_qkv", None)
    dim, rms = fields.whole("hidden_size"), pieces.rms(fields, default=1e-5)
    head_dim = pieces.per_head(fields, dim)
    attention = pieces.attention(fields, dim, pieces.rope(fields, head_dim, 4096), norm_all=rms)
    experts = pieces.experts(
        fields,
        fields.whole("intermediate_size"),
        pieces.count(fields, "num_experts", "num_local_experts"),
        pieces.scheme(fields, False),
        8,
    )
    return pieces.decoder(fields, dim, (block("layer", attention, experts),), None, rms)


NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=pieces.ENDS,
    blocks={
        "layer": (
            pieces.after("input_layernorm", pieces.ATTENTION | pieces.ALL_NORMS),
            pieces.after("post_attention_layernorm", pieces.EXPERTS),
        ),
    },
    ignored=("*rotary_emb.inv_freq",),
)
