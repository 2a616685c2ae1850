"""What sources of data that ship inside installed packages share."""

import hashlib
import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.items import Items
from blockyard.data.rows import Held


def installed(module: str, package: str, what: str) -> Any:
    """A module of an extra; a `UsageError` says how to get it where it is missing."""
    if find_spec(module.partition(".")[0]) is None:
        raise UsageError(f"{what} with the {package} library: pip install 'blockyard[items]'")
    return importlib.import_module(module)


def held_vectors(found: Any, name: str) -> Items:
    """The rows of one of scikit-learn's tables as vectors of numbers, each by itself."""
    digest = hashlib.sha256(np.ascontiguousarray(found.data, "<f8").tobytes())
    names = [f"{name} {i}" for i in range(len(found.target))]
    rows, labels = Held({"tokens": found.data}), found.target.astype(np.int64)
    return Items(name, digest.hexdigest(), "vectors", rows, labels, [str(each) for each in found.target_names], names)


def held_images(name: str, pixels: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Items:
    """Images (n,H,W) in [0,1] that are held in memory, each by itself."""
    tokens = np.ascontiguousarray(pixels[..., None], np.float32)
    digest = hashlib.sha256(tokens.astype("<f4").tobytes())
    digest.update(np.ascontiguousarray(labels, "<i8").tobytes())
    names = [f"{name} {i}" for i in range(len(labels))]
    return Items(name, digest.hexdigest(), "images", Held({"tokens": tokens}), labels.astype(np.int64), classes, names)
