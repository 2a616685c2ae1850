"""SmolLM 3: some layers turn nothing by its position, and some may read a window."""

from blockyard.core.spec import Spec, mixer, norm, residual
from blockyard.interop.fields import Fields
from blockyard.interop.layout import (
    ENDS,
    FULL,
    IGNORED,
    LAYER,
    SLIDING,
    biases,
    decoder,
    gated,
    head_width,
    needs_window,
)
from blockyard.interop.names import Names


def spec(fields: Fields) -> Spec:
    fields.neutral("max_position_embeddings", "max_window_layers", "pretraining_tp")
    heads, layers = fields.whole("num_attention_heads"), fields.layers("num_hidden_layers")
    head_dim = head_width(fields, heads)
    turning = turned(fields, layers)
    window, slide = fields.window(), fields.flag("use_sliding_window", False)
    kinds = fields.kinds(
        layers, (FULL, SLIDING), lambda i: SLIDING if slide and window is not None and not turning[i] else FULL
    )
    needs_window(fields, kinds, window)
    position = fields.rope(head_dim, 32768, base=2e6)
    channels = gated(fields)
    attention = mixer("attention", heads=heads, kv_heads=fields.groups(heads, 4), head_dim=head_dim)
    blocks = {
        f"{kind}_{how}": (attention.but(position=at, pattern=seen), channels)
        for kind, seen in ((FULL, None), (SLIDING, window))
        for how, at in (("turned", position), ("still", None))
    }
    rms = norm("rms", eps=fields.real("rms_norm_eps", 1e-6))
    biased = biases(fields, "attention_bias", "mlp_bias")
    tied = fields.flag("tie_word_embeddings", True)
    kinds = [f"{kind}_{'turned' if turns else 'still'}" for kind, turns in zip(kinds, turning)]
    return decoder(fields, kinds, blocks, residual("prenorm", norm=rms), norm=rms, tied=tied, biased=biased)


def turned(fields: Fields, layers: int) -> list[bool]:
    """Which layers turn queries and keys."""
    every = fields.whole("no_rope_layer_interval", 4)
    found = fields.get("no_rope_layers", None)
    if found is None:
        return [(i + 1) % every != 0 for i in range(layers)]
    if not isinstance(found, list) or len(found) < layers or not all(type(x) is int for x in found):
        raise fields.refuse("no_rope_layers", f"expected {layers} times 1 (positions) or 0 (none)")
    return [x != 0 for x in found[:layers]]


BLOCKS = {f"{kind}_{how}": LAYER for kind in (FULL, SLIDING) for how in ("turned", "still")}
ARCHITECTURE = "SmolLM3ForCausalLM"
NAMES = Names(base="model.", layer="layers.{}.", ends=ENDS, blocks=BLOCKS, ignored=IGNORED)
