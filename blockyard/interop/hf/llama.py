"""Llama: rotary positions and gated channels, with biases or without."""

from blockyard.core.spec import Spec
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, IGNORED, LAYER, head_width
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    # slices of the tensor-parallel pretraining: the same sums in another order
    fields.neutral("max_position_embeddings", "pretraining_tp")
    dim, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    head_dim = head_width(fields, heads)
    system = recipe(
        "llama",
        dim=dim,
        layers=fields.layers("num_hidden_layers"),
        heads=heads,
        kv_heads=fields.groups(heads),
        ffn=fields.whole("intermediate_size"),
        vocab=fields.whole("vocab_size"),
        tied=fields.flag("tie_word_embeddings", False),
        eps=fields.real("rms_norm_eps", 1e-6),
        **{
            "mixer.head_dim": head_dim,
            "mixer.position": fields.rope(head_dim, 2048),
            "channel.activation": fields.activation("hidden_act", "silu"),
        },
    )
    if fields.flag("attention_bias", False):
        system = system.at("steps.*.part.qkv", bias=True).at("steps.*.part.out", bias=True)
    if fields.flag("mlp_bias", False):
        system = system.at("steps.*.part.up", bias=True).at("steps.*.part.down", bias=True)
    return system


NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={"layer": LAYER}, ignored=IGNORED)
