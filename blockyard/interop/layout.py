"""What the decoders of transformers have in common: how layers of several types are laid, biases, names of tensors.

made = decoder(fields, kinds, {"full_attention": (mixer(...), channel(...))}, rule, norm=norm("rms"), tied=False)
"""

from collections.abc import Mapping, Sequence

from blockyard.core.spec import Spec, block, channel, depth, head, model, stem, system
from blockyard.interop.fields import Fields

FULL, SLIDING = "full_attention", "sliding_attention"
ENDS = {
    "stem.table": "model.embed_tokens.weight",
    "head.norm.gain": "model.norm.weight",
    "head.norm.bias": "model.norm.bias",
    "head.table": "lm_head.weight",
}
ATTENTION = {
    "part.qkv.weight": "self_attn.q_proj.weight | self_attn.k_proj.weight | self_attn.v_proj.weight",
    "part.qkv.bias": "self_attn.q_proj.bias | self_attn.k_proj.bias | self_attn.v_proj.bias",
    "part.out.weight": "self_attn.o_proj.weight",
    "part.out.bias": "self_attn.o_proj.bias",
}
GATED = {
    "part.up.weight": "mlp.gate_proj.weight | mlp.up_proj.weight",
    "part.up.bias": "mlp.gate_proj.bias | mlp.up_proj.bias",
    "part.down.weight": "mlp.down_proj.weight",
    "part.down.bias": "mlp.down_proj.bias",
}
BEFORE = (  # a norm before each sublayer
    {"rule.norm.gain": "input_layernorm.weight", "rule.norm.bias": "input_layernorm.bias"},
    {"rule.norm.gain": "post_attention_layernorm.weight", "rule.norm.bias": "post_attention_layernorm.bias"},
)
AROUND = (  # a norm before each sublayer, and one behind it
    {
        "rule.norm_in.gain": "input_layernorm.weight",
        "rule.norm_out.gain": "post_attention_layernorm.weight",
        **ATTENTION,
    },
    {
        "rule.norm_in.gain": "pre_feedforward_layernorm.weight",
        "rule.norm_out.gain": "post_feedforward_layernorm.weight",
        **GATED,
    },
)
BEHIND = (  # a norm behind each sublayer, and on all queries and all keys
    {
        "rule.norm.gain": "post_attention_layernorm.weight",
        "part.q_all.gain": "self_attn.q_norm.weight",
        "part.k_all.gain": "self_attn.k_norm.weight",
        **ATTENTION,
    },
    {"rule.norm.gain": "post_feedforward_layernorm.weight", **GATED},
)
HEAD_NORMS = {"part.q_norm.gain": "self_attn.q_norm.weight", "part.k_norm.gain": "self_attn.k_norm.weight"}
LAYER = ({**BEFORE[0], **ATTENTION}, {**BEFORE[1], **GATED})
IGNORED = ("*rotary_emb.inv_freq",)


def decoder(
    fields: Fields, kinds: Sequence[str], blocks: Mapping[str, tuple[Spec, ...]], rule: Spec, *, norm: Spec, tied: bool,
    biased: Sequence[str] = (), scale: float = 1.0, head_scale: float = 1.0, activation: Spec | None = None,
) -> Spec:  # fmt: skip
    """The system of a decoder of hidden_size and vocab_size.

    kinds    the type of each layer        blocks   the sublayers of each type
    rule     how sublayers read and write  norm     before the head
    biased   which projections have biases: qkv and out of attention, up and down of the channels
    scale    the factor on embeddings      head_scale, activation: what the last scores are multiplied by and pass
    """
    vocab = fields.whole("vocab_size")
    edits = [Spec.of("edit", f"steps.*.part.{name}", {"bias": True}) for name in biased]
    return system(model(
        dim=fields.whole("hidden_size"),
        stem=stem("tokens", vocab=vocab, scale=scale),
        blocks=tuple(block(kind, *blocks[kind]) for kind in dict.fromkeys(kinds)),
        residual=rule,
        depth=laid(kinds),
        head=head("lm", tied=tied, norm=norm, scale=head_scale, activation=activation),
        edits=tuple(edits),
    ))  # fmt: skip


def gated(fields: Fields) -> Spec:
    """Channels with a gate, of intermediate_size."""
    return channel("gated", inner=fields.whole("intermediate_size"), activation=fields.activation("hidden_act", "silu"))


def head_width(fields: Fields, heads: int) -> int:
    """The channels of a head: head_dim, or the width divided by the heads."""
    given, width = fields.whole("head_dim", None), fields.whole("hidden_size")
    if given is None and width % heads:
        raise fields.refuse("hidden_size", f"heads={heads} do not divide it, and head_dim is not said")
    return given or width // heads


def biases(fields: Fields, attention: str = "attention_bias", channels: str | None = None) -> tuple[str, ...]:
    """Which projections have biases, by the settings of these names."""
    found = ("qkv", "out") if fields.flag(attention, False) else ()
    return (*found, "up", "down") if channels and fields.flag(channels, False) else found


def needs_window(fields: Fields, kinds: Sequence[str], window: Spec | None) -> None:
    """Refuse layers that read a window of no length."""
    if SLIDING in kinds and window is None:
        raise fields.refuse("sliding_window", f"layers of the type {SLIDING} need one")


def types_up_to(fields: Fields, layers: int) -> tuple[list[str], dict[str, Spec | None]]:
    """The type of every layer and the window of each type, where `max_window_layers` read the whole text."""
    window = fields.window("sliding_window", 4096)
    window = window if fields.flag("use_sliding_window", False) else None
    first = fields.real("max_window_layers", 28)
    kinds = fields.kinds(layers, (FULL, SLIDING), lambda i: SLIDING if window is not None and i >= first else FULL)
    if SLIDING in kinds and window is None:
        raise fields.refuse("layer_types", f"{SLIDING} needs use_sliding_window and sliding_window")
    return kinds, {FULL: None, SLIDING: window}


def laid(kinds: Sequence[str]) -> Spec:
    """The depth program of layers of these types."""
    if len(set(kinds)) == 1:
        return depth("stack", layers=len(kinds))
    return depth("hybrid", pattern=pattern(list(kinds)), layers=len(kinds))


def pattern(names: list[str]) -> str:
    """The shortest period of these blocks, as depth:hybrid reads it."""
    period = next(n for n in range(1, len(names) + 1) if all(name == names[i % n] for i, name in enumerate(names)))
    runs: list[tuple[str, int]] = []
    for name in names[:period]:
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    return " + ".join(name if count == 1 else f"{count}*{name}" for name, count in runs)
