"""Mixtral: Llama's attention, and experts whose weights are a softmax over those that a token goes to."""

from blockyard.core.spec import Spec, residual
from blockyard.interop.experts import attention, count, experts, per_head, rms_of
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, IGNORED, decoder
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings", "router_jitter_noise")
    layers, rms = fields.layers("num_hidden_layers"), rms_of(fields, default=1e-5)
    head_dim = fields.whole("head_dim", None) or per_head(fields)
    window = fields.window()
    mixes = attention(fields, fields.rope(head_dim, 131072, base=1e6), head_dim, 8, pattern=window)
    many = experts(fields, fields.whole("intermediate_size"), count(fields, "num_local_experts", "num_experts"))
    tied = fields.flag("tie_word_embeddings", False)
    return decoder(
        fields, ["layer"] * layers, {"layer": (mixes, many)}, residual("prenorm", norm=rms), norm=rms, tied=tied
    )


NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS,
    blocks={
        "layer": (
            BEFORE[0] | ATTENTION,
            BEFORE[1]
            | {
                "part.router.weight": "block_sparse_moe.gate.weight",
                "part.experts.*.up.weight": (
                    "block_sparse_moe.experts.{}.w1.weight | block_sparse_moe.experts.{}.w3.weight"
                ),
                "part.experts.*.down.weight": "block_sparse_moe.experts.{}.w2.weight",
            },
        ),
    },
    ignored=IGNORED,
)
