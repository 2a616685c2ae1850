"""Vectors with a label each, from .npz files that hold an array x (n,C) and an array y (n).

Source   none    Family  vectors
Differs  nothing known
"""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.items import Items
from blockyard.data.rows import Held
from blockyard.source._base import Source


class MySource(Source):
    """What it gives and which files it takes stand here, so that nothing is loaded before it reads."""

    gives = "items"
    endings = (".npz",)

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        found = [self._arrays(path) for path in paths]
        x = np.concatenate([x for x, _ in found]).astype(np.float32)
        classes, labels = np.unique(np.concatenate([y for _, y in found]), return_inverse=True)
        name = Path(paths[0]).name
        digest = hashlib.sha256(x.tobytes() + labels.tobytes()).hexdigest()
        words = [str(each) for each in classes]
        return Items(name, digest, "vectors", Held({"tokens": x}), labels, words, [f"row {i}" for i in range(len(x))])

    def _arrays(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        try:
            held = np.load(path)  # never unpickles
            x, y = held["x"], held["y"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path} holds no arrays x and y: {error}") from None
        if x.ndim != 2 or y.shape != x.shape[:1]:
            raise UsageError(f"{path}: x must be (n,C) and y (n), not {x.shape} and {y.shape}")
        return x, y
