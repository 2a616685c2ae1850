"""Mixtral: Llama's attention, and experts whose weights are a softmax over those that a token goes to."""

from blockyard.core.spec import Spec, block
from blockyard.interop import pieces
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("router_jitter_noise")
    dim, rms = fields.whole("hidden_size"), pieces.rms(fields, default=1e-5)
    head_dim = fields.whole("head_dim", None) or pieces.per_head(fields, dim)
    attention = pieces.attention(fields, dim, pieces.rope(fields, head_dim, 131072, base=1e6), head_dim)
    experts = pieces.experts(
        fields, fields.whole("intermediate_size"), pieces.count(fields, "num_local_experts", "num_experts")
    )
    return pieces.decoder(fields, dim, (block("layer", attention, experts),), None, rms)


NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=pieces.ENDS,
    blocks={
        "layer": (
            pieces.after("input_layernorm", pieces.ATTENTION),
            pieces.after(
                "post_attention_layernorm",
                {
                    "part.router.weight": "block_sparse_moe.gate.weight",
                    "part.experts.*.up.weight": (
                        "block_sparse_moe.experts.{}.w1.weight | block_sparse_moe.experts.{}.w3.weight"
                    ),
                    "part.experts.*.down.weight": "block_sparse_moe.experts.{}.w2.weight",
                },
            ),
        ),
    },
    ignored=("*rotary_emb.inv_freq",),
)
