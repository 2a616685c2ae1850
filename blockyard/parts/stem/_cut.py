"""What stems of images share: the squares that an image is cut into, and the map of one to a token."""

from typing import Any

import torch
from torch import Tensor

from blockyard.core import Prod, Site, UsageError, squares


class Cut:
    """Squares of `patch` by `patch` pixels of an image of a known size, read row by row.

    height, width   of the image, in pixels; both are multiples of the patch
    grid            how many squares there are, down and across
    """

    def __init__(self, site: Site, height: int, width: int, patch: int, channels: int) -> None:
        self.image, self.patch = (height, width, channels), patch
        self.grid = site.divide("patch", height, patch), site.divide("patch", width, patch)
        rows, columns, colours = site.axis("rows", patch), site.axis("columns", patch), site.axis("channels", channels)
        rows.fixed = columns.fixed = "an image is cut into whole squares"
        colours.fixed = "an image has these colours"
        self.square = Prod(rows, columns, colours)
        self.path = site.path

    @property
    def count(self) -> int:
        """How many squares an image has."""
        return self.grid[0] * self.grid[1]

    def squares(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Images (B,H,W,C) -> (B,N,P P C)."""
        if tuple(images.shape[1:]) != self.image:
            raise UsageError(
                f"{self.path}: reads images of {' x '.join(map(str, self.image))} numbers (height, width, channels), "
                f"not of {' x '.join(map(str, images.shape[1:]))}"
            )
        return squares(images.to(dtype), self.patch, self.path)

    def example(self, rows: int, draw: Any) -> Tensor:
        """Images of the right shape."""
        return torch.randn(rows, *self.image, generator=draw)
