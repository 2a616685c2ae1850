"""Gemma 2: norms before and after each sublayer, caps on scores, and a window in every other layer."""

from blockyard.core.spec import Spec, activation, channel, mixer, norm, residual, weigh
from blockyard.interop.fields import Fields
from blockyard.interop.layout import AROUND, ENDS, FULL, IGNORED, SLIDING, biases, decoder, needs_window
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    fields.neutral("hidden_act")  # the class reads hidden_activation
    fields.only("use_bidirectional_attention", None, False)
    heads, head_dim = fields.whole("num_attention_heads"), fields.whole("head_dim", 256)
    kinds = fields.kinds(fields.layers("num_hidden_layers"), (FULL, SLIDING), lambda i: FULL if i % 2 else SLIDING)
    window = fields.window("sliding_window", 4096)
    needs_window(fields, kinds, window)
    scale, cap = fields.positive("query_pre_attn_scalar", 256) ** -0.5, fields.cap("attn_logit_softcapping", 50.0)
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads, 4), head_dim=head_dim,
        position=fields.rope(head_dim, 8192),
        weigh=weigh("softmax", scale=scale) if cap is None else weigh("softcap", cap=cap, scale=scale),
    )  # fmt: skip
    act = fields.activation("hidden_activation", "gelu_pytorch_tanh")
    channels = channel("gated", inner=fields.whole("intermediate_size"), activation=act)
    blocks = {kind: (attention.but(pattern=seen), channels) for kind, seen in ((FULL, None), (SLIDING, window))}
    rms = norm("rms_unit_offset", eps=fields.real("rms_norm_eps", 1e-6))
    last = fields.cap("final_logit_softcapping", 30.0)
    return decoder(
        fields, kinds, blocks, residual("peri", norm=rms), norm=rms,
        tied=fields.flag("tie_word_embeddings", True), scale=fields.whole("hidden_size") ** 0.5,
        biased=biases(fields),
        activation=None if last is None else activation("softcap", cap=last),
    )  # fmt: skip


BLOCKS = {FULL: AROUND, SLIDING: AROUND}
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks=BLOCKS, ignored=IGNORED)
