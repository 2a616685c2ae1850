"""Phi-3: projections that are fused as ours are, and positions with factors for long texts."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import BEFORE, ENDS, IGNORED, decoder, gated, head_width
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings", "original_max_position_embeddings")
    for name in ("attention_bias", "mlp_bias", "lm_head_bias"):  # of files that came with code of their own
        fields.only(name, False)
    fields.only("full_attn_mod", 1)
    fields.only("interpolate_factor", 1)
    heads = fields.whole("num_attention_heads")
    head_dim = head_width(fields, heads)
    position = fields.rope(
        head_dim, 4096, share=1.0, trained=4096,
        called={"su": "longrope", "yarn": "longrope", "linear": "none", "dynamic": "none", "llama3": "none"},
    )  # fmt: skip
    attention = mixer(
        "attention", heads=heads, kv_heads=fields.groups(heads), head_dim=head_dim, position=position,
        pattern=fields.window(),
    )  # fmt: skip
    channels = gated(fields)
    rms = norm("rms", eps=fields.real("rms_norm_eps", 1e-5))
    kinds = ["layer"] * fields.layers("num_hidden_layers")
    blocks = {"layer": (attention, channels)}
    tied = fields.flag("tie_word_embeddings", False)
    return decoder(fields, kinds, blocks, residual("prenorm", norm=rms), norm=rms, tied=tied)


LAYER = (
    {**BEFORE[0], "part.qkv.weight": "self_attn.qkv_proj.weight", "part.out.weight": "self_attn.o_proj.weight"},
    {**BEFORE[1], "part.up.weight": "mlp.gate_up_proj.weight", "part.down.weight": "mlp.down_proj.weight"},
)
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks={"layer": LAYER}, ignored=IGNORED)
