"""ConvNeXt: stages of wide filters, on images of the size that config.json says."""

from blockyard.core.spec import Spec, head, norm
from blockyard.interop.encoders import affine, normed, sees_both_sides
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import Told, image_size
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    sees_both_sides(fields)
    fields.neutral("drop_path_rate", "out_features", "out_indices", "stage_names")
    depths = fields.counts("depths", fields.held)
    fields.only("num_stages", len(depths))
    widths = fields.counts("hidden_sizes", None, len(depths))
    height, width = fields.sides("image_size", 224)
    patch = fields.sides("patch_size", 4)
    if patch[0] != patch[1]:
        raise fields.refuse("patch_size", "only square patches are known here")
    if fields.real("layer_scale_init_value", 1e-6) <= 0:
        raise fields.refuse("layer_scale_init_value", "without scales there is no convnext here")
    wider = {f"down{i}.junction.dim": wide for i, wide in enumerate(widths) if i}
    body = recipe(
        "convnext", dim=widths[0], layers=len(depths), stages=len(depths), shallow=1,
        height=height, width=width, channels=fields.whole("num_channels", 3), patch=patch[0],
        **{
            "depth.pattern": " + down".join(f"{f'{i} + ' if i else ''}{n}*stage{i + 1}" for i, n in enumerate(depths)),
            **wider, "channel.activation": fields.activation("hidden_act", "gelu"),
        },
    )  # fmt: skip
    last = norm("layer", eps=fields.real("layer_norm_eps", 1e-12))
    return body["model"].but(head=head("pooled_classes", classes=fields.classes(), norm=last))


_FILTER = "convnext.embeddings.patch_embeddings"
NAMES = {
    "ConvNextForImageClassification": Names(
        base="convnext.",
        layer={"stage": "encoder.stages.{at}.layers.{}.", "down": "encoder.stages.{next}.downsampling_layer."},
        ends={
            **affine("stem", _FILTER),
            **normed("stem.norm", "convnext.embeddings.layernorm"),
            **normed("head.norm", "convnext.layernorm"),
            **affine("head.proj", "classifier"),
        },
        blocks={
            "stage": (
                {
                    "rule.gain": "layer_scale_parameter",
                    "part.mixer.weight": "dwconv.weight.depthwise",
                    "part.mixer.bias": "dwconv.bias",
                    **normed("part.norm", "layernorm"),
                    **affine("part.channel.up", "pwconv1"),
                    **affine("part.channel.down", "pwconv2"),
                },
            ),
            "down": ({**normed("part.norm", "0"), **affine("part", "1")},),
        },
        pixels=_FILTER,
    )
}


def _stages(told: Told) -> dict[str, list[int]]:
    """The widths of the layers of each stage."""
    found: dict[str, list[int]] = {}
    filters = dict(told.model.named_parameters())
    for (name, _), (step, *_) in zip(told.model.depth.plan(), told.model.depth.blocks):
        if name.startswith("stage") and (path := f"steps.{step}.part.mixer.weight") in filters:
            found.setdefault(name, []).append(len(filters[path]))
    return found


WORDS = {
    "image_size": image_size,
    "patch_size": lambda told: resolved(told.model.stem, "kernel"),
    "num_channels": lambda told: resolved(told.model.stem, "channels"),
    "depths": lambda told: [len(widths) for widths in _stages(told).values()],
    "num_stages": lambda told: len(_stages(told)),
    "hidden_sizes": lambda told: [widths[0] for widths in _stages(told).values()],
}
