"""How an image becomes the numbers that their model reads, folded into the filter that reads it.

    theirs   W ((f 255 x - mean) / std) + b        x in [0,1], as images are here; f the factor on bytes
    ours     W' x + b'        W' = 255 f W / std        b' = b - sum_c W mean_c / std_c

A filter that covers whole patches sees no border, so both are the same function. The settings stand in
preprocessor_config.json; without that file a model reads what theirs reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blockyard.core.files import is_missing, read_json
from blockyard.interop.fields import Fields

FILE = "preprocessor_config.json"
# how a picture of another size comes to the size of the model, which is done where pictures are read
HOW = ("*_processor_type", "feature_extractor_type", "*processor_class", "resample", "do_resize", "do_convert_rgb",
       "crop_pct", "default_to_square", "data_format", "input_data_format", "return_tensors", "device",
       "_valid_processor_keys", "image_seq_length")  # fmt: skip


def scaled(folder: Path, tensors: Mapping[str, Tensor], pixels: str, image: tuple[int, ...]) -> dict[str, Tensor]:
    """The tensors of a model that reads images in [0,1].

    pixels   the name of the filter (D,C,P,P)        image   height, width and channels of what the model reads
    """
    if is_missing(folder / FILE):
        return dict(tensors)
    factor, offset = _affine(Fields(read_json(folder / FILE), str(folder / FILE)), image)
    weight, bias = (tensors.get(f"{pixels}.{end}") for end in ("weight", "bias"))
    if weight is None or bias is None or weight.dim() != 4 or not weight.is_floating_point():
        return dict(tensors)  # refused, with its name, where it is put in
    wide = weight.double()
    moved = bias.double() + torch.einsum("dchw,c->d", wide, torch.tensor(offset, dtype=torch.float64))
    made = wide * torch.tensor(factor, dtype=torch.float64)[:, None, None]
    return {**tensors, f"{pixels}.weight": made.to(weight.dtype), f"{pixels}.bias": moved.to(bias.dtype)}


def _affine(fields: Fields, image: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """factor, offset of each channel: what is read of a number x in [0,1] is factor x + offset."""
    height, width, channels = image
    fields.neutral(*HOW)
    if fields.get("do_pad", None):
        raise fields.refuse("do_pad", "images are cut here, not padded")
    name = "crop_size" if fields.get("do_center_crop", None) else "size"
    if _sides(fields, name) not in (None, (height, width)):
        raise fields.refuse(name, f"the model reads images of {height} x {width}")
    fields.neutral("size", "crop_size", "pad_size")
    rescale = fields.real("rescale_factor", 1 / 255) if fields.flag("do_rescale", True) else 1.0
    factor = rescale * 255
    if abs(factor - 1) < 1e-6:
        factor = 1.0  # 1/255 as they write it
    normal = fields.flag("do_normalize", True)
    mean, std = (_each(fields, name, channels) if normal else [fill] * channels
                 for name, fill in (("image_mean", 0.0), ("image_std", 1.0)))  # fmt: skip
    if not all(std):
        raise fields.refuse("image_std", "expected numbers other than zero")
    fields.neutral("image_mean", "image_std", "rescale_factor")
    fields.finish()
    return [factor / s for s in std], [-m / s for m, s in zip(mean, std)]


def _sides(fields: Fields, name: str) -> tuple[int, int] | None:
    """The size that pictures are brought to; None where nothing is said."""
    value: Any = fields.get(name, None)
    if isinstance(value, dict):
        value = value.get("shortest_edge", [value.get("height"), value.get("width")])
    if value is None:
        return None
    both = [value, value] if type(value) is int else value
    if not isinstance(both, list) or len(both) != 2 or not all(type(n) is int and n > 0 for n in both):
        raise fields.refuse(name, "expected a height and a width, or a shortest edge")
    return both[0], both[1]


def _each(fields: Fields, name: str, channels: int) -> list[float]:
    value = fields.get(name)
    found = [value] * channels if type(value) in (int, float) else value
    if not isinstance(found, list) or len(found) != channels or not all(type(n) in (int, float) for n in found):
        raise fields.refuse(name, f"expected a number for each of {channels} channels")
    return [float(n) for n in found]
