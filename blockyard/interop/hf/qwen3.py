"""Qwen 3: a norm on the queries and keys of each head; upper layers may read a window."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ENDS, HEAD_NORMS, IGNORED, LAYER, biases, decoder, gated, types_up_to
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    heads, layers = fields.whole("num_attention_heads"), fields.layers("num_hidden_layers")
    head_dim, rms = fields.whole("head_dim", 128), norm("rms", eps=fields.real("rms_norm_eps", 1e-6))
    position = fields.rope(head_dim, 32768)
    kinds, windows = types_up_to(fields, layers)
    channels = gated(fields)
    kv = fields.groups(heads, 32)
    blocks = {
        kind: (
            mixer(
                "attention", heads=heads, kv_heads=kv, head_dim=head_dim, position=position, norm=rms,
                pattern=windows[kind],
            ),
            channels,
        )
        for kind in windows
    }  # fmt: skip
    tied = fields.flag("tie_word_embeddings", False)
    biased = biases(fields)
    return decoder(fields, kinds, blocks, residual("prenorm", norm=rms), norm=rms, tied=tied, biased=biased)


_LAYER = ({**LAYER[0], **HEAD_NORMS}, LAYER[1])
BLOCKS = {"full_attention": _LAYER, "sliding_attention": _LAYER}
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks=BLOCKS, ignored=IGNORED)
