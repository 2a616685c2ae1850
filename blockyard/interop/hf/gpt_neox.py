"""GPT-NeoX and Pythia: both sublayers of a layer read the same stream, and part of each head turns.

Queries, keys and values are stored head by head.
"""

from blockyard.core.spec import Spec, channel, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import decoder
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    heads = fields.whole("num_attention_heads")
    head_dim = fields.whole("hidden_size") // heads
    position = fields.rope(
        head_dim, 2048, share=0.25, beside={"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
    )
    attention = mixer("attention", heads=heads, head_dim=head_dim, position=position)
    channels = channel(
        "mlp", inner=fields.whole("intermediate_size"), activation=fields.activation("hidden_act", "gelu")
    )
    layer = norm("layer", eps=fields.real("layer_norm_eps", 1e-5))
    rule = "parallel" if fields.flag("use_parallel_residual", True) else "prenorm"
    biased = ("qkv", "out") if fields.flag("attention_bias", True) else ()
    return decoder(
        fields, ["layer"] * fields.layers("num_hidden_layers"), {"layer": (attention, channels)},
        residual(rule, norm=layer), norm=layer, tied=fields.flag("tie_word_embeddings", False),
        biased=(*biased, "up", "down"),
    )  # fmt: skip


ARCHITECTURE = "GPTNeoXForCausalLM"
NAMES = Names(
    base="gpt_neox.",
    layer="layers.{}.",
    ends={
        "stem.table": "gpt_neox.embed_in.weight",
        "head.norm.gain": "gpt_neox.final_layer_norm.weight",
        "head.norm.bias": "gpt_neox.final_layer_norm.bias",
        "head.table": "lm_head.weight",
    },
    blocks={
        "layer": (
            {
                "rule.norm.gain": "input_layernorm.weight",
                "rule.norm.bias": "input_layernorm.bias",
                "part.qkv.weight": "heads of attention.query_key_value.weight",
                "part.qkv.bias": "heads of attention.query_key_value.bias",
                "part.out.weight": "attention.dense.weight",
                "part.out.bias": "attention.dense.bias",
            },
            {
                "rule.norm.gain": "post_attention_layernorm.weight",
                "rule.norm.bias": "post_attention_layernorm.bias",
                "part.up.weight": "mlp.dense_h_to_4h.weight",
                "part.up.bias": "mlp.dense_h_to_4h.bias",
                "part.down.weight": "mlp.dense_4h_to_h.weight",
                "part.down.bias": "mlp.dense_4h_to_h.bias",
            },
        ),
    },
    renamed={"embed_out.": "lm_head."},
    ignored=("*.attention.bias", "*.attention.masked_bias", "*rotary_emb.inv_freq"),
)
