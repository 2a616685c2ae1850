"""Gemma 3, its text: norms on each head, five layers of six with a window and positions of their own."""

from blockyard.core.spec import Spec, activation, channel, mixer, norm, residual, weigh
from blockyard.interop.fields import Fields
from blockyard.interop.layout import AROUND, ENDS, FULL, HEAD_NORMS, IGNORED, SLIDING, biases, decoder, needs_window
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    fields.only("use_bidirectional_attention", False, None)
    fields.only("attn_logit_softcapping", None)
    fields.neutral("_sliding_window_pattern")  # a copy of the other one, which is not read
    heads, head_dim = fields.whole("num_attention_heads"), fields.whole("head_dim", 256)
    every = fields.whole("sliding_window_pattern", 6)
    kinds = fields.kinds(
        fields.layers("num_hidden_layers"), (FULL, SLIDING), lambda i: SLIDING if (i + 1) % every else FULL
    )
    window = fields.window("sliding_window", 4096)
    needs_window(fields, kinds, window)
    rms = norm("rms_unit_offset", eps=fields.real("rms_norm_eps", 1e-6))
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads, 4), head_dim=head_dim, norm=rms,
        weigh=weigh("softmax", scale=fields.positive("query_pre_attn_scalar", 256) ** -0.5),
    )  # fmt: skip
    act = fields.activation("hidden_activation", "gelu_pytorch_tanh")
    channels = channel("gated", inner=fields.whole("intermediate_size"), activation=act)
    near = fields.rope(
        head_dim, 131072, layer=SLIDING, beside={"rope_theta": "rope_local_base_freq", "partial_rotary_factor": ""}
    )
    far = fields.rope(head_dim, 131072, base=1e6, layer=FULL, beside={"partial_rotary_factor": ""})
    blocks = {
        FULL: (attention.but(position=far), channels),
        SLIDING: (attention.but(position=near, pattern=window), channels),
    }
    last = fields.cap("final_logit_softcapping")
    return decoder(
        fields, kinds, blocks, residual("peri", norm=rms), norm=rms,
        tied=fields.flag("tie_word_embeddings", True), scale=fields.whole("hidden_size") ** 0.5,
        biased=biases(fields),
        activation=None if last is None else activation("softcap", cap=last),
    )  # fmt: skip


_LAYER = ({**AROUND[0], **HEAD_NORMS}, AROUND[1])
ARCHITECTURE = "Gemma3ForCausalLM"
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={FULL: _LAYER, SLIDING: _LAYER}, ignored=IGNORED)
