"""StableLM: layer norms, part of each head turns, and perhaps both sublayers of a layer read the same normed stream."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, BEFORE, ENDS, GATED, IGNORED, LAYER, decoder, gated
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings")
    fields.only("qk_layernorm", False)  # a norm for each single head
    heads = fields.whole("num_attention_heads")
    head_dim = fields.whole("hidden_size") // heads
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads, 32), head_dim=head_dim,
        position=fields.rope(head_dim, 4096, share=0.25),
    )  # fmt: skip
    channels = gated(fields)
    layer = norm("layer", eps=fields.real("layer_norm_eps", 1e-5))
    rule = "parallel" if fields.flag("use_parallel_residual", False) else "prenorm"
    kinds = [rule] * fields.layers("num_hidden_layers")
    return decoder(
        fields, kinds, {rule: (attention, channels)}, residual(rule, norm=layer), norm=layer,
        tied=fields.flag("tie_word_embeddings", False),
        biased=("qkv",) if fields.flag("use_qkv_bias", False) else (),
    )  # fmt: skip


BLOCKS = {"prenorm": LAYER, "parallel": ({**BEFORE[0], **ATTENTION}, {**BEFORE[0], **GATED})}
ARCHITECTURE = "StableLmForCausalLM"
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks=BLOCKS, ignored=IGNORED)
