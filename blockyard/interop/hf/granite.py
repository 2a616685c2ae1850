"""Granite: a llama with factors on embeddings, scores of attention, what sublayers write, and the last scores."""

from blockyard.core.spec import Spec, mixer, norm, residual, weigh
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, IGNORED, LAYER, biases, decoder, gated, head_width
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    heads = fields.whole("num_attention_heads")
    head_dim = head_width(fields, heads)
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads), head_dim=head_dim,
        position=fields.rope(head_dim, 2048),
        weigh=weigh("softmax", scale=fields.positive("attention_multiplier", 1.0)),
    )  # fmt: skip
    channels = gated(fields)
    rms = norm("rms", eps=fields.real("rms_norm_eps", 1e-6))
    kinds = ["layer"] * fields.layers("num_hidden_layers")
    biased = biases(fields, "attention_bias", "mlp_bias")
    rule = residual("multiplied", norm=rms, factor=fields.real("residual_multiplier", 1.0))
    return decoder(
        fields, kinds, {"layer": (attention, channels)}, rule, norm=rms, biased=biased,
        tied=fields.flag("tie_word_embeddings", False), scale=fields.positive("embedding_multiplier", 1.0),
        head_scale=1 / fields.positive("logits_scaling", 1.0),
    )  # fmt: skip


NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={"layer": LAYER}, ignored=IGNORED)
