"""Matrices in few bits, and the product with them."""

from .op import packed_linear
from .packing import check, dense, pack, pack_codes, tiles_shape
from .rows import int8_rows, int8_rows_of

__all__ = ["check", "dense", "int8_rows", "int8_rows_of", "pack", "pack_codes", "packed_linear", "tiles_shape"]
