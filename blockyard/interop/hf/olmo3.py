"""OLMo 3: OLMo 2 with a window in three layers of four."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import (
    BEHIND,
    ENDS,
    FULL,
    IGNORED,
    SLIDING,
    biases,
    decoder,
    gated,
    head_width,
    needs_window,
)
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    heads, rms = fields.whole("num_attention_heads"), norm("rms", eps=fields.real("rms_norm_eps", 1e-5))
    head_dim = head_width(fields, heads)
    kinds = fields.kinds(
        fields.layers("num_hidden_layers"), (FULL, SLIDING), lambda i: SLIDING if (i + 1) % 4 else FULL
    )
    window = fields.window("sliding_window", 4096)
    needs_window(fields, kinds, window)
    attention = mixer("attention", heads=heads, kv_heads=fields.groups(heads), head_dim=head_dim, norm_all=rms)
    channels = gated(fields)
    # rope_theta beside the schemes is that of full attention alone
    none = {"rope_theta": "", "partial_rotary_factor": ""}
    near = fields.rope(head_dim, 2048, base=5e5, layer=SLIDING, beside=none)
    far = fields.rope(head_dim, 2048, base=5e5, layer=FULL, beside={"partial_rotary_factor": ""})
    blocks = {
        FULL: (attention.but(position=far), channels),
        SLIDING: (attention.but(position=near, pattern=window), channels),
    }
    return decoder(
        fields, kinds, blocks, residual("outnorm", norm=rms), norm=rms,
        tied=fields.flag("tie_word_embeddings", False),
        biased=biases(fields),
    )  # fmt: skip


BLOCKS = {FULL: BEHIND, SLIDING: BEHIND}
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks=BLOCKS, ignored=IGNORED)
