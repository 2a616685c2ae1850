"""Images from files, all of one size: scaled until they cover it, and cut around their middle."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.items import Asked
from blockyard.data.rows import Arrays

GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "F")  # modes of images without a colour
MOST, STEP = 64, 8  # pixels of the longer side, unless someone says otherwise; sizes are multiples of the step


class Pictures:
    """Images (n,H,W,C) in [0,1], decoded when they are asked for.

    library   Pillow, loaded                             paths   of the files
    shape     the height and width that most of them have        size    those that all get        grey   one channel
    """

    def __init__(
        self, library: Any, paths: Sequence[str], shape: tuple[int, int], size: tuple[int, int], grey: bool
    ) -> None:  # fmt: skip
        self.library, self.paths, self.shape, self.size, self.grey = library, paths, shape, size, grey
        self.rows = Asked(len(paths), self._read, lambda stack, _: {"tokens": stack.astype(np.float32) / 255})
        self.note = (
            f"images are scaled to {size[0]} by {size[1]} pixels and cut around their middle; size= says another"
        )

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: Any) -> Arrays:
        """The arrays of the rows of an index or a slice."""
        return self.rows.take(index)

    def sized(self, side: int) -> "Pictures":
        """The same images, so many pixels along the longer side."""
        return Pictures(self.library, self.paths, self.shape, fitted(self.shape, side), self.grey)

    def _read(self, place: int) -> np.ndarray:
        """One image (H,W,C) in bytes."""
        from PIL import ImageOps

        path = self.paths[place]
        try:
            with self.library.open(path) as opened:
                image = ImageOps.exif_transpose(opened)
                image.load()
                height, width = self.size
                plain = ImageOps.fit(_flat(self.library, image, self.grey), (width, height))
                return np.asarray(plain, np.uint8).reshape(height, width, -1)
        except (OSError, ValueError, SyntaxError) as error:
            raise UsageError(f"{path} is damaged: {error}; mend it or take it out of the folder") from None


def fitted(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """The height and width of this shape with so long a longer side, in whole steps where they are larger than one."""
    height, width = (n * side / max(shape) for n in shape)
    return _stepped(height), _stepped(width)


def _stepped(length: float) -> int:
    return round(length / STEP) * STEP if length > STEP else max(1, round(length))


def common_size(sizes: np.ndarray) -> tuple[int, int]:
    """The height and width for images (n,2) of these: their own where all are alike and small, else the median's."""
    height, width = (int(n) for n in np.median(sizes, 0))
    if (sizes == sizes[0]).all() and max(height, width) <= MOST:
        return height, width
    return fitted((height, width), min(MOST, max(height, width)))


def _flat(library: Any, image: Any, grey: bool) -> Any:
    """The image without transparency, over white, in 8 bits: grey or in colours."""
    if image.mode in ("I", "I;16", "I;16B", "F"):
        values = np.asarray(image, np.float64)
        top = max(1.0, 65535.0 if values.max() > 255 else 255.0)
        image = library.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8))
    if "A" in image.mode or "transparency" in image.info:
        over = image.convert("RGBA")
        image = library.alpha_composite(library.new("RGBA", over.size, "white"), over)
    return image.convert("L" if grey else "RGB")
