"""Grids: rows and columns that tokens fill, row by row."""

from torch import Tensor

from blockyard.core.errors import UsageError


def strided(path: str, grid: tuple[int, ...], kernel: int, stride: int, padding: int) -> tuple[int, ...]:
    """The grid that a square filter leaves of one: (side + 2 padding - kernel) / stride + 1, rounded down, a side.

    path   whose filter it is, for an error where it does not fit
    """
    if min(grid) + 2 * padding < kernel:
        sides = " x ".join(map(str, grid))
        raise UsageError(f"{path}: a filter of {kernel} x {kernel} does not fit a grid of {sides}, padding={padding}")
    return tuple((side + 2 * padding - kernel) // stride + 1 for side in grid)


def squares(images: Tensor, side: int, path: str) -> Tensor:
    """Images (B,H,W,C) -> (B,N,P P C): their squares of so many pixels a side, row by row."""
    height, width = images.shape[1:3]
    if height % side or width % side:
        raise UsageError(f"{path}: patch={side} does not divide images of {height} by {width} pixels")
    cut = images.unflatten(2, (width // side, side)).unflatten(1, (height // side, side))
    return cut.transpose(2, 3).flatten(3).flatten(1, 2)
