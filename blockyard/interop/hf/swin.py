"""Swin: a pyramid of windows that divide the grid of every stage, on images of the size that config.json says."""

from blockyard.core.spec import Spec, head, norm
from blockyard.interop.encoders import affine, fused, normed, task, tasks
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    fields.neutral("*dropout*", "drop_path_rate", "encoder_stride", "out_features", "out_indices", "stage_names",
                   "num_layers", "path_norm")  # fmt: skip
    fields.only("use_absolute_embeddings", False)
    depths = fields.counts("depths", fields.held)
    heads, window, dim = fields.counts("num_heads", None, len(depths)), fields.whole("window_size", 7), fields.whole("embed_dim")
    fields.only("hidden_size", dim << (len(depths) - 1))
    height, width = _sides(fields, depths, window)
    fine, usual = norm("layer", eps=fields.real("layer_norm_eps", 1e-5)), norm("layer", eps=1e-5)
    ratio, wide = fields.real("mlp_ratio", 4.0), {}
    for i, count in enumerate(heads):
        wide |= {f"stage{i + 1}.mixer.heads": count, f"stage{i + 1}.channel.inner": int(ratio * (dim << i))}
    body = recipe(
        "swin", dim=dim, layers=len(depths), stages=len(depths), shallow=1, window=window,
        height=height, width=width, channels=fields.whole("num_channels", 3), patch=fields.sides("patch_size", 4)[0],
        **{
            "depth.pattern": _laid(depths), **wide, "residual.norm": fine, "stem.norm": usual, "junction.norm": usual,
            "channel.activation": fields.activation("hidden_act", "gelu"),
        } | ({} if len(depths) > 1 else {}),
    )["model"]  # fmt: skip
    body = body.but(head=head("classes", classes=fields.classes(), norm=fine) if task(fields) else head("stream", norm=fine))
    return body if fields.flag("qkv_bias", True) else body.at("steps.*.part.mixer.qkv", bias=False)


def _laid(depths: list[int]) -> str:
    """The blocks of stages, and a junction before each but the first."""
    return " + down".join(f"{f'{i} + ' if i else ''}{count}*stage{i + 1}" for i, count in enumerate(depths))


def _sides(fields: Fields, depths: list[int], window: int) -> tuple[int, int]:
    """Height and width, of which every stage must be whole windows, and of which theirs are the same."""
    if any(count % 2 for count in depths[:-1]):
        raise fields.refuse("depths", "stages before the last have an even number of blocks here: every second is shifted")
    (height, width), patch = fields.sides("image_size", 224), fields.sides("patch_size", 4)
    if patch[0] != patch[1]:
        raise fields.refuse("patch_size", "only square patches are known here")
    if height % patch[0] or width % patch[0]:
        raise fields.refuse("image_size", f"the patches of {patch[0]} do not divide it")
    grid = height // patch[0], width // patch[0]
    for stage in range(len(depths)):
        if grid[0] % window or grid[1] % window:
            raise fields.refuse("window_size", f"it does not divide the grid of stage {stage + 1}, {grid[0]} x {grid[1]}")
        grid = grid[0] // 2, grid[1] // 2
    return height, width


_FILTER = "swin.embeddings.patch_embeddings.projection"
_QKV = {f"part.mixer.{path}": source for path, source in
        fused("qkv", *(f"attention.self.{name}" for name in ("query", "key", "value"))).items()}  # fmt: skip
NAMES = tasks(
    "Swin",
    Names(
        base="swin.",
        layer={"stage": "encoder.layers.{at}.blocks.{}.", "down": "encoder.layers.{at}.downsample."},
        ends={
            **affine("stem", _FILTER),
            **normed("stem.norm", "swin.embeddings.norm"),
            **normed("head.norm", "swin.layernorm"),
        },
        blocks={
            "stage": (
                {
                    **_QKV,
                    **affine("part.mixer.out", "attention.output.dense"),
                    "part.mixer.position.table": "attention.self.relative_position_bias_table.square",
                    **normed("rule.norm", "layernorm_before"),
                },
                {
                    **affine("part.up", "intermediate.dense"),
                    **affine("part.down", "output.dense"),
                    **normed("rule.norm", "layernorm_after"),
                },
            ),
            "down": ({"part.proj.weight": "reduction.weight", **normed("part.norm", "norm")},),
        },
        ignored=("*.relative_position_index",),
        unread=("swin.embeddings.mask_token",),
        pixels=_FILTER,
    ),
    {"": {}, "ImageClassification": affine("head.proj", "classifier")},
)
