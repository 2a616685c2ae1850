"""T5: an encoder, and a decoder that reads it; version 1.0 and the gated one of 1.1, with the head tied or not.

Whether the head is the table follows from whether the checkpoint holds one of its own; whether what it reads is scaled
is a setting. What the encoder reads stands in `batch.more["source"]`.
"""

from typing import Any

from blockyard.core.spec import (
    Spec,
    block,
    channel,
    depth,
    head,
    mixer,
    model,
    norm,
    position,
    residual,
    stem,
    tower,
    weigh,
)
from blockyard.interop.fields import ACTIVATIONS, Fields
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import ABSENT, Told, slot
from blockyard.model.model import Model

HEAD = "lm_head.weight"


def spec(fields: Fields) -> Spec:
    fields.neutral("dropout_rate", "classifier_dropout", "initializer_factor", "n_positions", "output_past")
    dim, layers, heads = fields.whole("d_model"), fields.layers("num_layers"), fields.whole("num_heads")
    near = position("t5", buckets=fields.whole("relative_attention_num_buckets", 32),
                    max_distance=fields.whole("relative_attention_max_distance", 128))  # fmt: skip
    size = dict(heads=heads, head_dim=fields.whole("d_kv", 64))
    fine = norm("rms", eps=fields.real("layer_norm_epsilon", 1e-6))
    own = mixer("attention", position=near, weigh=weigh("softmax", scale=1.0), **size)
    after, vocab = _channel(fields), fields.whole("vocab_size")
    named = "gated" if after.name == "gated" else "layer"
    body: dict[str, Any] = dict(dim=dim, residual=residual("prenorm", norm=fine))
    encoder = model(
        stem=stem("tokens", vocab=vocab), blocks=(block(named, own, after),), head=head("stream", norm=fine),
        causal=False, depth=depth("stack", layers=layers), **body,
    )  # fmt: skip
    fields.only("is_decoder", False)
    if "is_causal" in fields.config:
        raise fields.refuse("is_causal", "the encoder sees both sides and the decoder does not")
    older = fields.flag("tie_word_embeddings", True)
    scaled = fields.flag("scale_decoder_outputs", older)
    if fields.made == "T5EncoderModel":
        fields.neutral("is_encoder_decoder", "num_decoder_layers")
        return encoder
    below = layers if fields.get("num_decoder_layers", None) is None else fields.layers("num_decoder_layers")
    fields.only("is_encoder_decoder", True)
    scale = dim**-0.5 if scaled else 1.0
    return model(
        stem=stem("shared"), blocks=(block(named, own, mixer("cross", scale=1.0, **size), after),),
        head=head("lm", tied=HEAD not in fields.tensors, norm=fine, scale=scale),
        depth=depth("stack", layers=below), towers=(tower("source", encoder, question=True),), **body,
    )  # fmt: skip


def _channel(fields: Fields) -> Spec:
    inner, kind = fields.whole("d_ff"), str(fields.get("feed_forward_proj", "relu"))
    *gated, act = kind.split("-")
    act = "gelu_new" if kind == "gated-gelu" else act
    if gated not in ([], ["gated"]) or act not in ACTIVATIONS:
        raise fields.refuse("feed_forward_proj", f"known are {', '.join(ACTIVATIONS)}, and gated- before each")
    fields.only("is_gated_act", bool(gated))
    fields.only("dense_act_fn", act)
    return channel("gated" if gated else "mlp", inner=inner, activation=Spec("activation", ACTIVATIONS[act]))


_OWN = {
    "rule.norm.gain": "layer.0.layer_norm.weight",
    "part.qkv.weight": " | ".join(f"layer.0.SelfAttention.{name}.weight" for name in "qkv"),
    "part.out.weight": "layer.0.SelfAttention.o.weight",
    "part.position.table": "layer.0.SelfAttention.relative_attention_bias.weight",
}
_CROSS = {
    "rule.norm.gain": "layer.1.layer_norm.weight",
    "part.q.weight": "layer.1.EncDecAttention.q.weight",
    "part.kv.weight": "layer.1.EncDecAttention.k.weight | layer.1.EncDecAttention.v.weight",
    "part.out.weight": "layer.1.EncDecAttention.o.weight",
}


def _layers(*steps: dict[str, str]) -> dict[str, tuple[dict[str, str], ...]]:
    """A layer of these steps and channels, of one matrix that widens or of two, one of which is the gate."""
    at = f"layer.{len(steps)}."
    wide, after = f"{at}DenseReluDense.wi", {
        "rule.norm.gain": f"{at}layer_norm.weight", "part.down.weight": f"{at}DenseReluDense.wo.weight"
    }  # fmt: skip
    return {
        "layer": (*steps, {**after, "part.up.weight": f"{wide}.weight"}),
        "gated": (*steps, {**after, "part.up.weight": f"{wide}_0.weight | {wide}_1.weight"}),
    }


_ENCODER = Names(
    base="",
    layer="encoder.block.{}.",
    ends={"stem.table": "shared.weight", "head.norm.gain": "encoder.final_layer_norm.weight"},
    blocks=_layers(_OWN),
    copies={"encoder.embed_tokens.weight": "shared.weight"},
)
NAMES = {
    "T5ForConditionalGeneration": Names(
        base="",
        layer="decoder.block.{}.",
        ends={"stem.table": "shared.weight", "head.norm.gain": "decoder.final_layer_norm.weight", "head.table": HEAD},
        blocks=_layers(_OWN, _CROSS),
        # early checkpoints have a table of distances for what is read by none
        ignored=("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",),
        copies={f"{side}.embed_tokens.weight": "shared.weight" for side in ("encoder", "decoder")},
        towers={"source": _ENCODER},
    ),
    "T5EncoderModel": _ENCODER,
}


def _encoder(told: Told) -> Told:
    """The model that reads what is asked: of an encoder alone that one."""
    tower = dict(told.model.towers.items()).get("source")
    return Told(tower) if isinstance(tower, Model) else told


def _fed(told: Told) -> Any:
    """The channels in one word: their activation, and whether they have a gate."""
    found = told.channel("alone")
    act = told.act("alone")
    if found is None or act is ABSENT:
        return ABSENT
    act = "gelu" if found.spec.name == "gated" and act == "gelu_new" else act
    return f"gated-{act}" if found.spec.name == "gated" else act


def _near(name: str) -> Any:
    return lambda told: (
        resolved(near, name) if (near := slot(told.first.get("mixer:attention"), "position")) else ABSENT
    )


def _scaled(told: Told) -> bool:
    return bool(told.model.towers) and resolved(told.model.head, "scale") != 1.0


WORDS: dict[str, Any] = {
    "d_kv": lambda told: told.axis("mixer:attention", "head_dim"),
    "d_ff": lambda told: told.wide("alone"),
    "num_heads": lambda told: told.product("mixer:attention", "kv", "group"),
    "num_layers": lambda told: len(_encoder(told).model.depth.plan()),
    "num_decoder_layers": lambda told: len(told.model.depth.plan()),
    "vocab_size": lambda told: _encoder(told).size("stem.vocab"),
    "feed_forward_proj": _fed,
    "relative_attention_num_buckets": _near("buckets"),
    "relative_attention_max_distance": _near("max_distance"),
    "tie_word_embeddings": lambda told: "head.table" not in told.learned,
    "scale_decoder_outputs": _scaled,
    "is_encoder_decoder": lambda told: bool(told.model.towers),
}
