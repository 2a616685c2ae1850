"""OLMo: a llama whose norms learn nothing."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, IGNORED, LAYER, biases, decoder, gated, head_width
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    fields.only("clip_qkv", None)
    heads = fields.whole("num_attention_heads")
    head_dim = head_width(fields, heads)
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads), head_dim=head_dim,
        position=fields.rope(head_dim, 2048),
    )  # fmt: skip
    channels = gated(fields)
    kinds, plain = ["layer"] * fields.layers("num_hidden_layers"), norm("standard", eps=1e-5)
    return decoder(
        fields, kinds, {"layer": (attention, channels)}, residual("prenorm", norm=plain), norm=plain,
        tied=fields.flag("tie_word_embeddings", False),
        biased=biases(fields),
    )  # fmt: skip


NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={"layer": LAYER}, ignored=IGNORED)
