"""GPT-2: learned positions; projections are stored as (reads, writes), the transpose of ours."""

from blockyard.core.spec import Spec
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    fields.only("scale_attn_weights", True)
    fields.only("scale_attn_by_inverse_layer_idx", False)
    fields.only("add_cross_attention", False)
    fields.neutral("n_ctx", "reorder_and_upcast_attn", "summary_*", "*_pdrop")
    dim = fields.whole("n_embd")
    return recipe(
        "gpt2",
        dim=dim,
        layers=fields.layers("n_layer"),
        heads=fields.whole("n_head"),
        ffn=fields.whole("n_inner", None) or 4 * dim,
        vocab=fields.whole("vocab_size"),
        length=fields.whole("n_positions"),
        **{
            "norm.eps": fields.real("layer_norm_epsilon", 1e-5),
            "head.tied": fields.flag("tie_word_embeddings", True),
            "channel.activation": fields.activation("activation_function", "gelu_new"),
        },
    )


ARCHITECTURE = "GPT2LMHeadModel"
NAMES = Names(
    base="transformer.",
    layer="h.{}.",
    ends={
        "stem.table": "transformer.wte.weight",
        "stem.position.table": "transformer.wpe.weight",
        "head.norm.gain": "transformer.ln_f.weight",
        "head.norm.bias": "transformer.ln_f.bias",
        "head.table": "lm_head.weight",
    },
    blocks={
        "layer": (
            {
                "rule.norm.gain": "ln_1.weight",
                "rule.norm.bias": "ln_1.bias",
                "part.qkv.weight": "attn.c_attn.weight.T",
                "part.qkv.bias": "attn.c_attn.bias",
                "part.out.weight": "attn.c_proj.weight.T",
                "part.out.bias": "attn.c_proj.bias",
            },
            {
                "rule.norm.gain": "ln_2.weight",
                "rule.norm.bias": "ln_2.bias",
                "part.up.weight": "mlp.c_fc.weight.T",
                "part.up.bias": "mlp.c_fc.bias",
                "part.down.weight": "mlp.c_proj.weight.T",
                "part.down.bias": "mlp.c_proj.bias",
            },
        ),
    },
    ignored=("*.attn.bias", "*.attn.masked_bias"),
)
