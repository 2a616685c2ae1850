"""OLMo Hybrid: gated delta layers behind pre-norm, attention layers whose outputs are normalised."""

from blockyard.core.spec import Spec, mixer, position
from blockyard.interop.fields import Fields
from blockyard.interop.layout import head_width, pattern
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe

BLOCKS = {"linear_attention": "delta", "full_attention": "attention"}


def spec(fields: Fields) -> Spec:
    fields.only("attention_bias", False)
    fields.only("hidden_act", "silu")
    fields.neutral("max_position_embeddings", "attention_dropout", "linear_a_log_*", "linear_dt_*")
    dim, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    layers = fields.layers("num_hidden_layers")
    kinds = fields.get("layer_types", None)
    if kinds is None:
        kinds = ["full_attention" if i % 4 == 3 else "linear_attention" for i in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or not set(map(str, kinds)) <= set(BLOCKS):
        raise fields.refuse("layer_types", f"expected {layers} times linear_attention or full_attention")
    delta_heads = fields.whole("linear_num_value_heads", None) or heads
    if (fields.whole("linear_num_key_heads", None) or heads) != delta_heads:
        raise fields.refuse("linear_num_key_heads", f"only as many as value heads, {delta_heads}, are known here")
    key = fields.whole("linear_key_head_dim", None) or 3 * dim // (4 * delta_heads)
    base = fields.rope_base()
    return recipe(
        "olmo_hybrid",
        dim=dim,
        layers=layers,
        heads=heads,
        ffn=fields.whole("intermediate_size"),
        vocab=fields.whole("vocab_size"),
        tied=fields.flag("tie_word_embeddings", False),
        eps=fields.real("rms_norm_eps", 1e-6),
        **{
            "depth.pattern": pattern([BLOCKS[kind] for kind in kinds]),
            "delta.mixer.heads": delta_heads,
            "delta.mixer.key_dim": key,
            "delta.mixer.value_dim": fields.whole("linear_value_head_dim", None) or 2 * key,
            "delta.mixer.beta_max": 2.0 if fields.flag("linear_allow_neg_eigval", True) else 1.0,
            "delta.mixer.conv": mixer("short_conv", width=fields.whole("linear_conv_kernel_dim", 4)),
            "attention.mixer.kv_heads": fields.whole("num_key_value_heads", None) or heads,
            "attention.mixer.head_dim": head_width(fields, heads),
            "attention.mixer.position": None if base is None else position("rope", base=base),
        },
    )


_WIDE = {
    "part.up.weight": "mlp.gate_proj.weight | mlp.up_proj.weight",
    "part.down.weight": "mlp.down_proj.weight",
}
ARCHITECTURE = "OlmoHybridForCausalLM"
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends={
        "stem.table": "model.embed_tokens.weight",
        "head.norm.gain": "model.norm.weight",
        "head.table": "lm_head.weight",
    },
    blocks={
        "delta": (
            {
                "rule.norm.gain": "input_layernorm.weight",
                "part.proj.weight": (
                    "linear_attn.q_proj.weight | linear_attn.k_proj.weight | linear_attn.v_proj.weight | "
                    "linear_attn.g_proj.weight | linear_attn.a_proj.weight | linear_attn.b_proj.weight"
                ),
                "part.conv.weight": " | ".join(f"linear_attn.{name}_conv1d.weight.depthwise" for name in "qkv"),
                "part.A_log": "linear_attn.A_log",
                "part.dt_bias": "linear_attn.dt_bias",
                "part.norm.gain": "linear_attn.o_norm.weight",
                "part.out.weight": "linear_attn.o_proj.weight",
            },
            {"rule.norm.gain": "post_attention_layernorm.weight", **_WIDE},
        ),
        "attention": (
            {
                "rule.norm.gain": "post_attention_layernorm.weight",
                "part.qkv.weight": "self_attn.q_proj.weight | self_attn.k_proj.weight | self_attn.v_proj.weight",
                "part.q_all.gain": "self_attn.q_norm.weight",
                "part.k_all.gain": "self_attn.k_norm.weight",
                "part.out.weight": "self_attn.o_proj.weight",
            },
            {"rule.norm.gain": "post_feedforward_layernorm.weight", **_WIDE},
        ),
    },
    # files call these norms by what follows them, the model by what precedes them
    renamed={
        ".attention_layer_norm.": ".input_layernorm.",
        ".feedforward_layer_norm.": ".post_attention_layernorm.",
    },
    ignored=("*rotary_emb.inv_freq",),
)
