"""Whisper: an encoder of the frames of a spectrogram, in `batch.more["source"]`, and a decoder that reads it.

How a sound becomes frames (B,T,mels) is said by preprocessor_config.json and done by who calls. Keys have no bias of
their own here, for which ours has zeros: it would add the same to all scores of a query.
"""

from collections.abc import Callable
from typing import Any

from blockyard.core.spec import (
    Spec,
    block,
    channel,
    depth,
    head,
    linear,
    mixer,
    model,
    norm,
    position,
    residual,
    stem,
    tower,
)
from blockyard.interop.encoders import affine, normed
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import WORDS as ALL
from blockyard.interop.words import Told
from blockyard.model.model import Model


def spec(fields: Fields) -> Spec:
    fields.neutral(
        "*dropout*", "*_layerdrop", "init_std", "mask_*", "apply_spec_augment", "median_filter_width",
        "*suppress_tokens", "forced_decoder_ids", "max_length", "begin_suppress_tokens", "classifier_proj_size",
        "use_weighted_layer_sum",
    )  # fmt: skip
    fields.only("scale_embedding", False)
    fields.only("is_encoder_decoder", True)
    fields.only("tie_word_embeddings", True)
    fields.only("is_decoder", False)
    if "is_causal" in fields.config:
        raise fields.refuse("is_causal", "the encoder sees both sides and the decoder does not")
    fields.only("num_hidden_layers", fields.get("encoder_layers"))
    dim, act, fine = fields.whole("d_model"), fields.activation("activation_function", "gelu"), norm("layer", eps=1e-5)
    body: dict[str, Any] = dict(dim=dim, residual=residual("prenorm", norm=fine), linear=linear("dense", bias=True))

    def layer(side: str, *cross: Spec) -> dict[str, Any]:
        own = mixer("attention", heads=fields.whole(f"{side}_attention_heads"), position=None)
        after = channel("mlp", inner=fields.whole(f"{side}_ffn_dim"), activation=act)
        count = fields.layers(f"{side}_layers")
        return dict(blocks=(block("layer", own, *cross, after),), depth=depth("stack", layers=count))

    places = position("learned", length=fields.whole("max_source_positions", 1500))
    encoder = model(
        stem=stem("conv_frames", channels=fields.whole("num_mel_bins", 80), position=places),
        head=head("stream", norm=fine), causal=False, **layer("encoder"), **body,
    )  # fmt: skip
    places = position("learned", length=fields.whole("max_target_positions", 448))
    return model(
        stem=stem("tokens", vocab=fields.whole("vocab_size"), position=places), head=head("lm", norm=fine),
        towers=(tower("source", encoder),),
        **layer("decoder", mixer("cross", heads=fields.whole("decoder_attention_heads"))), **body,
    )  # fmt: skip


_OWN = {
    "part.qkv.weight": " | ".join(f"self_attn.{name}_proj.weight" for name in "qkv"),
    "part.qkv.bias": "self_attn.q_proj.bias | self_attn.k_proj.weight.zeros | self_attn.v_proj.bias",
    **affine("part.out", "self_attn.out_proj"),
    **normed("rule.norm", "self_attn_layer_norm"),
}
_CROSS = {
    **affine("part.q", "encoder_attn.q_proj"),
    "part.kv.weight": "encoder_attn.k_proj.weight | encoder_attn.v_proj.weight",
    "part.kv.bias": "encoder_attn.k_proj.weight.zeros | encoder_attn.v_proj.bias",
    **affine("part.out", "encoder_attn.out_proj"),
    **normed("rule.norm", "encoder_attn_layer_norm"),
}
_AFTER = {**affine("part.up", "fc1"), **affine("part.down", "fc2"), **normed("rule.norm", "final_layer_norm")}
NAMES = {
    "WhisperForConditionalGeneration": Names(
        base="model.",
        layer="decoder.layers.{}.",
        ends={
            "stem.table": "model.decoder.embed_tokens.weight",
            "stem.position.table": "model.decoder.embed_positions.weight",
            **normed("head.norm", "model.decoder.layer_norm"),
            "head.table": "proj_out.weight",
        },
        blocks={"layer": (_OWN, _CROSS, _AFTER)},
        towers={
            "source": Names(
                base="model.",
                layer="encoder.layers.{}.",
                ends={
                    "stem.first": "model.encoder.conv1.weight",
                    "stem.first_bias": "model.encoder.conv1.bias",
                    "stem.second": "model.encoder.conv2.weight",
                    "stem.second_bias": "model.encoder.conv2.bias",
                    "stem.position.table": "model.encoder.embed_positions.weight",
                    **normed("head.norm", "model.encoder.layer_norm"),
                },
                blocks={"layer": (_OWN, _AFTER)},
            )
        },
    )
}


def _encoder(told: Told) -> Told:
    tower = dict(told.model.towers.items()).get("source")
    return Told(tower) if isinstance(tower, Model) else told


SIDES = {"layers": "num_hidden_layers", "attention_heads": "num_attention_heads", "ffn_dim": "intermediate_size"}


def _of(side: str, usual: str) -> Callable[[Told], Any]:
    """A word of one of the two sides, by the one that says it of all others."""
    return lambda told: ALL[usual](_encoder(told) if side == "encoder" else told)


WORDS = {
    **{f"{side}_{word}": _of(side, usual) for side in ("encoder", "decoder") for word, usual in SIDES.items()},
    "num_hidden_layers": _of("encoder", "num_hidden_layers"),
    "num_mel_bins": lambda told: resolved(_encoder(told).model.stem, "channels"),
    "max_source_positions": lambda told: _encoder(told).size("stem.position.length"),
    "max_target_positions": lambda told: told.size("stem.position.length"),
    "is_encoder_decoder": lambda told: bool(told.model.towers),
}
