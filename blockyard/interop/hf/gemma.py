"""Gemma: embeddings times the root of the width, gains kept from one, and a gate by GELU."""

from blockyard.core.spec import Spec, activation, channel, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, IGNORED, LAYER, biases, decoder
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    fields.only("use_bidirectional_attention", None, False)
    fields.neutral("hidden_activation")  # of before; the class reads hidden_act
    heads, head_dim = fields.whole("num_attention_heads"), fields.whole("head_dim", 256)
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads, 16), head_dim=head_dim,
        position=fields.rope(head_dim, 8192),
    )  # fmt: skip
    # the first checkpoints say gelu and mean its approximation
    first = fields.get("hidden_act", None) == "gelu"
    act = activation("gelu") if first else fields.activation("hidden_act", "gelu_pytorch_tanh")
    channels = channel("gated", inner=fields.whole("intermediate_size"), activation=act)
    rms = norm("rms_unit_offset", eps=fields.real("rms_norm_eps", 1e-6))
    kinds = ["layer"] * fields.layers("num_hidden_layers")
    return decoder(
        fields, kinds, {"layer": (attention, channels)}, residual("prenorm", norm=rms), norm=rms,
        tied=fields.flag("tie_word_embeddings", True), scale=fields.whole("hidden_size") ** 0.5,
        biased=biases(fields),
    )  # fmt: skip


NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={"layer": LAYER}, ignored=IGNORED)
