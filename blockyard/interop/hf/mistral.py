"""Mistral: a llama whose layers all read a window of the last tokens."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, IGNORED, LAYER, decoder, gated, head_width
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    heads = fields.whole("num_attention_heads")
    head_dim = head_width(fields, heads)
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads, 8), head_dim=head_dim,
        position=fields.rope(head_dim, 131072), pattern=fields.window("sliding_window", 4096),
    )  # fmt: skip
    channels = gated(fields)
    rms = norm("rms", eps=fields.real("rms_norm_eps", 1e-6))
    kinds = ["layer"] * fields.layers("num_hidden_layers")
    blocks = {"layer": (attention, channels)}
    tied = fields.flag("tie_word_embeddings", False)
    return decoder(fields, kinds, blocks, residual("prenorm", norm=rms), norm=rms, tied=tied)


NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={"layer": LAYER}, ignored=IGNORED)
