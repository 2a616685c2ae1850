"""Bamba: Mamba-2 layers, and attention in some that turns half of a head's channels."""

from blockyard.core.spec import Spec, residual
from blockyard.interop.experts import MAMBA, attention, biased, gated, mamba2, moved, per_head, places, rms_of
from blockyard.interop.fields import Fields
from blockyard.interop.layout import ATTENTION, ENDS, GATED, IGNORED, decoder
from blockyard.interop.names import Names
from blockyard.interop.words import Told, attention_of


def spec(fields: Fields) -> Spec:
    dim, layers = fields.whole("hidden_size"), fields.layers("num_hidden_layers")
    fields.neutral("max_position_embeddings", "num_logits_to_keep", "z_loss_coefficient")
    fields.neutral("partial_rotary_factor")  # their class takes a half whatever stands here
    fields.only("attn_rotary_emb", per_head(fields) // 2)
    full = places(fields, "attn_layer_indices")
    kinds = ["full_attention" if n in full else "linear_attention" for n in range(layers)]
    rms = rms_of(fields, default=1e-5)
    inner = fields.whole("mamba_expand", 2) * dim
    position = fields.rope(per_head(fields), 262144, share=0.5, beside={"partial_rotary_factor": ""})
    channels = gated(fields, fields.whole("intermediate_size"))
    system = decoder(
        fields,
        kinds,
        {
            "linear_attention": (mamba2(fields, inner, rms["eps"]), channels),
            "full_attention": (attention(fields, position, kv=8), channels),
        },
        residual("prenorm", norm=rms),
        norm=rms,
        tied=fields.flag("tie_word_embeddings", False),
        biased=("up", "down") if fields.flag("mlp_bias", False) else (),
    )
    wanted = {
        "linear_attention": ("proj", "out") if fields.flag("mamba_proj_bias", False) else (),
        "full_attention": ("qkv", "out") if fields.flag("attention_bias", False) else (),
    }
    return biased(system, kinds, wanted)


_BEFORE = {"rule.norm.gain": "input_layernorm.weight"}
_CHANNELS = {"rule.norm.gain": "pre_ff_layernorm.weight"} | moved(GATED, "part", "mlp.", "feed_forward.")
NAMES = Names(
    base="model.",
    layer="layers.{}.",
    ends=ENDS | {"head.norm.gain": "model.final_layernorm.weight"},
    blocks={"linear_attention": (_BEFORE | MAMBA, _CHANNELS), "full_attention": (_BEFORE | ATTENTION, _CHANNELS)},
    ignored=IGNORED,
)


def _full(told: Told) -> list[int]:
    """The layers with attention."""
    return [number for number, layer in enumerate(told.layers()) if attention_of(layer) is not None]


WORDS = {"attn_layer_indices": _full}
