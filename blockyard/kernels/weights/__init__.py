"""Matrices in few bits, and the product with them."""

from .op import packed_linear
from .packing import check, dense, pack, pack_codes, tiles_shape

__all__ = ["check", "dense", "pack", "pack_codes", "packed_linear", "tiles_shape"]
