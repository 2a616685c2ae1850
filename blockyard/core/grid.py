"""Grids: rows and columns that tokens fill, row by row."""

from blockyard.core.errors import UsageError


def strided(path: str, grid: tuple[int, ...], kernel: int, stride: int, padding: int) -> tuple[int, ...]:
    """The grid that a square filter leaves of one: (side + 2 padding - kernel) / stride + 1, rounded down, a side.

    path   whose filter it is, for an error where it does not fit
    """
    if min(grid) + 2 * padding < kernel:
        sides = " x ".join(map(str, grid))
        raise UsageError(f"{path}: a filter of {kernel} x {kernel} does not fit a grid of {sides}, padding={padding}")
    return tuple((side + 2 * padding - kernel) // stride + 1 for side in grid)
