"""Images in class folders, or by a pattern of names: PNG, JPEG and whatever else Pillow reads.

Source   none    Family  images
Differs  nothing known
"""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.found import File, columns, facts, find
from blockyard.data.items import Items
from blockyard.data.pictures import GREY, Pictures, common_size
from blockyard.source._base import Source
from blockyard.source._files import named, read_each
from blockyard.source._packaged import installed


class Images(Source):
    gives = "items"
    endings = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        library = installed("PIL.Image", "Pillow", "images are read")
        files, notes = find(paths, self.endings, "images")
        seen: dict[str, tuple[tuple[int, int], str]] = {}

        def head(file: File, data: bytes) -> None:
            try:
                with library.open(io.BytesIO(data)) as image:
                    seen[file.name] = (image.size[1], image.size[0]), image.mode
            except (OSError, ValueError, SyntaxError):
                raise UsageError(f"no image, {len(data)} bytes") from None

        kept, content, more = read_each(files, head, "images")
        sizes = np.array([seen[file.name][0] for file in kept])
        target, grey = common_size(sizes), all(seen[file.name][1] in GREY for file in kept)
        middle = int(np.median(sizes[:, 0])), int(np.median(sizes[:, 1]))
        rows = Pictures(library, [file.path for file in kept], middle, target, grey)
        digest = hashlib.sha256(repr((content, target, grey)).encode()).hexdigest()
        said = facts(named(paths), "images", columns([file.fields for file in kept]))
        return Items(named(paths), digest, "images", rows, names=[f.name for f in kept], notes=(*notes, *more), **said)
