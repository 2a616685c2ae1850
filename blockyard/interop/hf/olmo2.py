"""OLMo 2: norms on what sublayers write, and on all queries and all keys at once."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import BEHIND, ENDS, IGNORED, biases, decoder, gated, head_width
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    heads, rms = fields.whole("num_attention_heads"), norm("rms", eps=fields.real("rms_norm_eps", 1e-5))
    head_dim = head_width(fields, heads)
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads), head_dim=head_dim, norm_all=rms,
        position=fields.rope(head_dim, 2048),
    )  # fmt: skip
    channels = gated(fields)
    kinds = ["layer"] * fields.layers("num_hidden_layers")
    return decoder(
        fields, kinds, {"layer": (attention, channels)}, residual("outnorm", norm=rms), norm=rms,
        tied=fields.flag("tie_word_embeddings", False),
        biased=biases(fields),
    )  # fmt: skip


NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={"layer": BEHIND}, ignored=IGNORED)
