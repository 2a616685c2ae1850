"""Labelled things made on the spot, easy to tell apart."""

import numpy as np

from blockyard.data.items import Items
from blockyard.data.rows import Held


def _items(kind, arrays, labels, classes, **more):
    names = [f"{kind} {i}" for i in range(len(labels))]
    return Items(f"some {kind}", kind, kind, Held(arrays), labels, [f"c{i}" for i in range(classes)], names, **more)


def grey(side=8, count=120, classes=2):
    """Images whose brighter part stands elsewhere for each class."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = draw.random((count, side, side, 1)).astype(np.float32) * 0.3
    for i, label in enumerate(labels):
        part = side // classes
        pixels[i, :, label * part : (label + 1) * part] += 0.6
    return _items("images", {"tokens": pixels}, labels, classes)


def sounds(count=120):
    """Tones, low and high, of different lengths."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 2
    lengths = draw.integers(500, 801, count)
    valid = np.arange(800) < lengths[:, None]
    waves = 0.5 * np.sin(2 * np.pi * np.where(labels, 1500, 300)[:, None] * np.arange(800) / 8000)
    noisy = waves + 0.05 * draw.standard_normal((count, 800))
    return _items("sounds", {"tokens": (noisy * valid).astype(np.float32), "valid": valid}, labels, 2, rate=8000.0)


def words(count=120):
    """Texts that are happy or not."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 2
    texts = np.empty(count, object)
    for i, label in enumerate(labels):
        texts[i] = " ".join([("grim", "glad")[label]] * 2 + [str(n) for n in draw.integers(0, 99, 3)]).encode()
    return _items("texts", {"tokens": texts}, labels, 2)


def blobs(count=120, apart=8.0):
    """Points around three centres."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 3
    points = draw.standard_normal((count, 4)) + apart * np.eye(4)[labels]
    return _items("vectors", {"tokens": points}, labels, 3)
