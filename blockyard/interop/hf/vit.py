"""ViT: a class token before the patches, which the head of classes reads; what pools it for other uses is left out."""

from typing import Any

from blockyard.core.spec import Spec, head, norm, stem
from blockyard.interop.encoders import affine, fused, normed, sees_both_sides, task, tasks
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import ABSENT, Told, image_size
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    sees_both_sides(fields)
    fields.neutral("*dropout*", "encoder_stride", "pooler_*")
    height, width = fields.sides("image_size", 224)
    patch = fields.sides("patch_size", 16)
    if patch[0] != patch[1]:
        raise fields.refuse("patch_size", "only square patches are known here")
    fine = norm("layer", eps=fields.real("layer_norm_eps", 1e-12))
    size = dict(height=height, width=width, patch=patch[0], channels=fields.whole("num_channels", 3))
    body = recipe(
        "vit",
        dim=fields.whole("hidden_size"),
        layers=fields.layers("num_hidden_layers"),
        heads=fields.whole("num_attention_heads"),
        ffn=fields.whole("intermediate_size"),
        **{
            "mixer.head_dim": fields.whole("head_dim", None),
            "channel.activation": fields.activation("hidden_act", "gelu"), "residual.norm": fine,
        },
    )["model"]  # fmt: skip
    said = head("class_token", classes=fields.classes(), norm=fine) if task(fields) else head("stream", norm=fine)
    body = body.but(stem=stem("class_patches", **size), head=said)
    return body if fields.flag("qkv_bias", True) else body.at("steps.*.part.qkv", bias=False)


_FILTER = "vit.embeddings.patch_embeddings.projection"
NAMES = tasks(
    "ViT",
    Names(
        base="vit.",
        layer="encoder.layer.{}.",
        ends={
            "stem.proj.weight": f"{_FILTER}.weight.patches",
            "stem.proj.bias": f"{_FILTER}.bias",
            "stem.token": "vit.embeddings.cls_token.row.row",
            "stem.position.table": "vit.embeddings.position_embeddings.row",
            **normed("head.norm", "vit.layernorm"),
        },
        blocks={
            "layer": (
                {
                    **fused("part.qkv", *(f"attention.attention.{name}" for name in ("query", "key", "value"))),
                    **affine("part.out", "attention.output.dense"),
                    **normed("rule.norm", "layernorm_before"),
                },
                {
                    **affine("part.up", "intermediate.dense"),
                    **affine("part.down", "output.dense"),
                    **normed("rule.norm", "layernorm_after"),
                },
            ),
        },
        unread=("vit.pooler.*", "vit.embeddings.mask_token"),
        pixels=_FILTER,
    ),
    {"": {}, "ImageClassification": affine("head.proj", "classifier")},
)


def _head_dim(told: Told) -> Any:
    """The channels of a head, where they are not the width divided by the heads."""
    heads, width = told.product("mixer:attention", "kv", "group"), told.axis("mixer:attention", "head_dim")
    return ABSENT if heads is ABSENT or heads * width == told.model.stream.size else width


WORDS = {
    "head_dim": _head_dim,
    "image_size": image_size,
    "patch_size": lambda told: resolved(told.model.stem, "patch"),
    "num_channels": lambda told: resolved(told.model.stem, "channels"),
}
