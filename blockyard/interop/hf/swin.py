"""Swin: a pyramid of windows, on images of the size that config.json says.

A grid that is no multiple of the windows is filled up with zeros, which the windows at its border read.
"""

from typing import Any

from blockyard.core.spec import Spec, head, mixer, norm
from blockyard.interop.encoders import affine, fused, normed, sees_both_sides, task, tasks
from blockyard.interop.fields import Fields
from blockyard.interop.names import Names
from blockyard.interop.same import resolved
from blockyard.interop.words import ABSENT, Told, image_size, undone
from blockyard.systems import spec as recipe


def spec(fields: Fields) -> Spec:
    fields.neutral("*dropout*", "drop_path_rate", "encoder_stride", "out_features", "out_indices", "stage_names",
                   "num_layers", "path_norm")  # fmt: skip
    sees_both_sides(fields)
    fields.only("use_absolute_embeddings", False)
    depths = fields.counts("depths", fields.held)
    heads, dim = fields.counts("num_heads", None, len(depths)), fields.whole("embed_dim")
    window = fields.whole("window_size", 7)
    fields.only("hidden_size", dim << (len(depths) - 1))
    height, width, filled = _sides(fields, depths, window)
    fine, usual = norm("layer", eps=fields.real("layer_norm_eps", 1e-5)), norm("layer", eps=1e-5)
    ratio, wide = fields.real("mlp_ratio", 4.0), {}
    for i, count in enumerate(heads):
        inner = int(ratio * (dim << i))
        if inner < 1:
            raise fields.refuse("mlp_ratio", "nothing is left inside the channels")
        wide |= {f"stage{i + 1}.mixer.heads": count, f"stage{i + 1}.channel.inner": inner}
    if len(depths) > 1:
        wide["junction.norm"] = usual
    body = recipe(
        "swin", dim=dim, layers=len(depths), stages=len(depths), shallow=1, window=window,
        height=height, width=width, channels=fields.whole("num_channels", 3), patch=fields.sides("patch_size", 4)[0],
        **{
            "depth.pattern": _laid(depths), "residual.norm": fine, "stem.norm": usual,
            "channel.activation": fields.activation("hidden_act", "gelu"),
        }, **wide,
    )["model"]  # fmt: skip
    body = body.map(lambda each: _filled(each, filled, window))
    said = head("classes", classes=fields.classes(), norm=fine) if task(fields) else head("stream", norm=fine)
    body = body.but(head=said)
    if not fields.flag("qkv_bias", True):
        there = {"mixer.mixer": filled, "mixer": len(filled) < len(depths)}
        for where in (where for where, any_ in there.items() if any_):
            body = body.at(f"steps.*.part.{where}.qkv", bias=False)
    return body


def _laid(depths: list[int]) -> str:
    """The blocks of stages, and a junction before each but the first."""
    return " + down".join(f"{f'{i} + ' if i else ''}{count}*stage{i + 1}" for i, count in enumerate(depths))


def _filled(block: Spec, stages: list[str], window: int) -> Spec:
    """A block whose windows stand in a grid that is filled up, where its stage is one of these."""
    if block.kind != "block" or block.name not in stages:
        return block
    windows, *others = block["steps"]
    return block.but(steps=(mixer("filled_grid", size=window, mixer=windows), *others))


def _sides(fields: Fields, depths: list[int], window: int) -> tuple[int, int, list[str]]:
    """Height and width, and the stages whose grids are filled up."""
    if any(count % 2 for count in depths[:-1]):
        raise fields.refuse("depths", "stages before the last need an even number of blocks: every second is shifted")
    (height, width), patch = fields.sides("image_size", 224), fields.sides("patch_size", 4)
    if patch[0] != patch[1]:
        raise fields.refuse("patch_size", "only square patches are known here")
    if height % patch[0] or width % patch[0]:
        raise fields.refuse("image_size", f"the patches of {patch[0]} do not divide it")
    grid, filled = (height // patch[0], width // patch[0]), list[str]()
    for stage in range(1, len(depths) + 1):
        said = f"the grid of stage {stage} is {grid[0]} x {grid[1]}"
        if min(grid) < window:
            raise fields.refuse("window_size", said)
        if grid[0] % window or grid[1] % window:
            filled.append(f"stage{stage}")
        if stage < len(depths) and (grid[0] % 2 or grid[1] % 2):
            raise fields.refuse("image_size", f"{said}, and only even sides are merged here")
        grid = grid[0] // 2, grid[1] // 2
    return height, width, filled


_FILTER = "swin.embeddings.patch_embeddings.projection"
_WINDOWS = {
    **fused("qkv", *(f"attention.self.{name}" for name in ("query", "key", "value"))),
    **affine("out", "attention.output.dense"),
    "position.table": "attention.self.relative_position_bias_table.square",
}
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
                    **{f"part.mixer.{path}": source for path, source in _WINDOWS.items()},
                    **{f"part.mixer.mixer.{path}": source for path, source in _WINDOWS.items()},
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


def _stages(told: Told) -> list[str]:
    """The block of each layer that is no junction."""
    return [name for name, _ in told.model.depth.plan() if name.startswith("stage")]


def _depths(told: Told) -> list[int]:
    return [_stages(told).count(name) for name in dict.fromkeys(_stages(told))]


def _heads(told: Told) -> list[int]:
    """Heads of each stage."""
    axes = told.model.axes
    every = {name: axes[f"{each.path}.kv"].size * axes[f"{each.path}.group"].size
             for name, each in zip(_stages(told), told.attentions())}  # fmt: skip
    return [*every.values()]


def _ratio(told: Told) -> Any:
    """How often the width stands inside of a channel."""
    inner, dim = told.wide("alone"), told.model.stream.size
    return ABSENT if inner is ABSENT else undone(lambda ratio: int(ratio * dim), inner, lambda inner: inner / dim)


WORDS = {
    "image_size": image_size,
    "patch_size": lambda told: resolved(told.model.stem, "kernel"),
    "num_channels": lambda told: resolved(told.model.stem, "channels"),
    "hidden_size": lambda told: told.model.stream.size << len(_depths(told)) >> 1,
    "embed_dim": lambda told: told.model.stream.size,
    "depths": _depths, "num_heads": _heads, "mlp_ratio": _ratio,
    "window_size": lambda told: told.setting("mixer:windows", "size"),
}  # fmt: skip
