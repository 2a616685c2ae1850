"""Qwen 2: biases on queries, keys and values; upper layers may read a window."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, IGNORED, LAYER, decoder, gated, head_width, types_up_to
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    fields.only("use_mrope", False)
    heads, layers = fields.whole("num_attention_heads"), fields.layers("num_hidden_layers")
    head_dim = head_width(fields, heads)
    position = fields.rope(head_dim, 32768)
    kinds, windows = types_up_to(fields, layers)
    channels = gated(fields)
    kv = fields.groups(heads, 32)
    blocks = {
        kind: (
            mixer("attention", heads=heads, kv_heads=kv, head_dim=head_dim, position=position, pattern=windows[kind]),
            channels,
        )
        for kind in windows
    }
    rms = norm("rms", eps=fields.real("rms_norm_eps", 1e-6))
    tied = fields.flag("tie_word_embeddings", False)
    return decoder(fields, kinds, blocks, residual("prenorm", norm=rms), norm=rms, tied=tied, biased=("qkv",))


BLOCKS = {"full_attention": LAYER, "sliding_attention": LAYER}
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks=BLOCKS, ignored=IGNORED)
