"""Llama: three projections of attention and two of the channels, which ours fuse."""

from blockyard.core.spec import Spec
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    fields.only("attention_bias", False)
    fields.only("mlp_bias", False)
    # slices of the tensor-parallel pretraining: the same sums in another order
    fields.neutral("max_position_embeddings", "attention_dropout", "pretraining_tp")
    base = fields.rope_base()
    if base is None:
        raise fields.refuse("rope_theta", "without rotary positions there is no llama")
    return recipe(
        "llama",
        dim=fields.whole("hidden_size"),
        layers=fields.layers("num_hidden_layers"),
        heads=fields.whole("num_attention_heads"),
        kv_heads=fields.whole("num_key_value_heads", None),
        ffn=fields.whole("intermediate_size"),
        vocab=fields.whole("vocab_size"),
        tied=fields.flag("tie_word_embeddings", False),
        base=base,
        eps=fields.real("rms_norm_eps", 1e-6),
        **{
            "mixer.head_dim": fields.whole("head_dim", None),
            "channel.activation": fields.activation("hidden_act", "silu"),
        },
    )


NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends={
        "stem.table": "model.embed_tokens.weight",
        "head.norm.gain": "model.norm.weight",
        "head.table": "lm_head.weight",
    },
    blocks={
        "layer": (
            {
                "rule.norm.gain": "input_layernorm.weight",
                "part.qkv.weight": "self_attn.q_proj.weight | self_attn.k_proj.weight | self_attn.v_proj.weight",
                "part.out.weight": "self_attn.o_proj.weight",
            },
            {
                "rule.norm.gain": "post_attention_layernorm.weight",
                "part.up.weight": "mlp.gate_proj.weight | mlp.up_proj.weight",
                "part.down.weight": "mlp.down_proj.weight",
            },
        ),
    },
    ignored=("*rotary_emb.inv_freq",),
)
