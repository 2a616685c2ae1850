"""What models read of labelled things, by their kind: rows of tokens, how many a row, and the ends that read them.

images   square patches, as few pixels wide as at most PATCHES of them allow
sounds   frames of a spectrogram, every 10 ms, or as seldom as at most FRAMES of them allow
texts    their first ids, as many as all but the longest twentieth have, and at most TOKENS
pairs    two texts with a mark between them, of as many ids as texts have
vectors  each number as a token
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.spec import Spec, head, objective, position, stem
from blockyard.data.items import Items, Sized
from blockyard.data.rows import Arrays, Held, Rows
from blockyard.data.tokens import Codec, learned_codec
from blockyard.task._material import Ends
from blockyard.task._rows_of_text import joined, learned, padded, width

PATCHES, FRAMES, TOKENS = 64, 128, 256  # of a row, at most
HOP, WINDOW = 0.010, 2.5  # seconds from frame to frame, and how many of these a frame lasts
MOST = 0.95  # the share of texts that are read to their end


@dataclass(frozen=True)
class Input:
    """Things as a model reads them: rows with `tokens`, how many tokens of the stream a row has, the ends."""

    rows: Rows
    length: int
    ends: Ends
    notes: tuple[str, ...] = ()
    codec: Codec | None = None


def read_as(items: Items, train: np.ndarray, patch: int | None, length: int | None) -> Input:
    """The input of these things; `train` (n,) are the places that may be learned from."""
    if patch is not None and items.kind != "images":
        raise UsageError(f"patch={patch}: {items.name} holds {items.kind}, and only images are cut into patches")
    if items.kind == "images":
        return _images(items, patch, length)
    if items.kind == "sounds":
        return _sounds(items, length or FRAMES)
    if items.kind == "texts":
        return _texts(items, train, length)
    if items.kind == "pairs":
        return _two_texts(items, train, length)
    return _vectors(items, train)


def _ends(reads: str, entry: Spec, items: Items, **settings: Any) -> Ends:
    """The ends of what reads this and names a class."""
    leave = head("classes"), objective("classes")
    return Ends(reads, "classes", "classes", entry, *leave, settings={"classes": len(items.classes), **settings})


def _images(items: Items, patch: int | None, length: int | None) -> Input:
    height, width, channels = items.rows.take(slice(0, 1))["tokens"].shape[1:]
    if patch is None:
        shared = math.gcd(height, width)
        sides = [side for side in range(1, shared + 1) if not shared % side and (side > 1 or shared == 1)]
        fits = [side for side in sides if height * width // side**2 <= (length or PATCHES)]
        patch = fits[0] if fits else sides[-1]
    elif length is not None:
        raise UsageError(f"patch={patch} and length={length} both say how many tokens an image has; give one")
    elif height % patch or width % patch:
        raise UsageError(f"patch={patch} does not divide images of {height} by {width} pixels")
    shape = dict(height=height, width=width, channels=channels, patch=patch)
    notes = (items.rows.note,) if isinstance(items.rows, Sized) else ()
    return Input(items.rows, height * width // patch**2, _ends("images", stem("patches"), items, **shape), notes)


def _sounds(items: Items, most: int) -> Input:
    samples = items.rows.take(slice(0, 1))["tokens"].shape[1]
    rate = float(items.rate or 0)
    hop = max(round(HOP * rate), math.ceil(samples / most))
    window = min(samples, round(WINDOW * hop))
    ends = _ends("sounds", stem("log_mel", position=position("sinusoidal")), items, rate=rate, hop=hop, window=window)
    return Input(items.rows, 1 + (samples - window) // hop, ends)


def _texts(items: Items, train: np.ndarray, length: int | None) -> Input:
    documents: list[bytes] = list(items.rows.take(slice(None))["tokens"])
    codec = learned_codec(items.codec, [documents[i] for i in train])
    ids = list(codec.encode_each(documents))
    sizes = np.array([len(each) for each in ids])
    width = int(min(length or TOKENS, max(1, np.quantile(sizes, MOST if length is None else 1.0))))
    tokens, cut = np.zeros((len(ids), width), np.int64), int((sizes > width).sum())
    for row, each in zip(tokens, ids):
        row[: len(each)] = each[:width]
    notes = (f"{cut} of {len(ids)} texts are longer than {width} tokens and are read to there",) if cut else ()
    rows = Held({"tokens": tokens, "valid": np.arange(width) < sizes[:, None]})
    entry = stem("tokens", position=position("sinusoidal"))
    return Input(rows, width, _ends("ids", entry, items, vocab=codec.vocab), notes, codec)


def _two_texts(items: Items, train: np.ndarray, length: int | None) -> Input:
    pairs: list[tuple[bytes, bytes]] = list(items.rows.take(slice(None))["tokens"])
    codec = learned(items.codec, (text for i in train for text in pairs[i]))
    ids = [list(codec.encode_each(pair)) for pair in pairs]
    most = width([len(a) + 1 + len(b) for a, b in ids], length)
    rows = [joined(a, b, codec.vocab, most) for a, b in ids]
    cut = sum(len(a) + 1 + len(b) > most for a, b in ids)
    notes = (f"{cut} of {len(ids)} pairs are longer than {most} ids; the longer text is cut",) if cut else ()
    arrays = padded([row for row, _ in rows], most, [begin for _, begin in rows])
    entry = stem("tokens", position=position("sinusoidal"))
    return Input(Held(arrays), most, _ends("ids", entry, items, vocab=codec.vocab + 1), notes, codec)


def _vectors(items: Items, train: np.ndarray) -> Input:
    values = items.rows.take(slice(None))["tokens"]
    mean, spread = values[train].mean(0), values[train].std(0)
    scaled = ((values - mean) / np.where(spread > 0, spread, 1)).astype(np.float32)
    entry = stem("frames", position=position("learned", length=values.shape[1]))
    return Input(Held({"tokens": scaled[..., None]}), values.shape[1], _ends("frames", entry, items, channels=1))


def features(items: Items, arrays: Arrays) -> np.ndarray:
    """(n,F) what classical rules look at: pixels, spectra, pairs of bytes or the numbers themselves."""
    tokens = arrays["tokens"]
    if items.kind == "images":
        return _pooled(tokens).reshape(len(tokens), -1)
    if items.kind == "sounds":
        return _spectra(tokens, arrays["valid"], items.rate or 1.0)
    if items.kind == "texts":
        return np.stack([_pairs(text) for text in tokens])
    if items.kind == "pairs":
        return np.stack([_both(*pair) for pair in tokens])
    return tokens[..., 0]


def _pooled(images: np.ndarray, side: int = 16) -> np.ndarray:
    """Images (n,H,W,C) with at most so many pixels a side, each the mean of those that it stands for."""
    for axis in (1, 2):
        step = -(-images.shape[axis] // side)
        images = np.add.reduceat(images, np.arange(0, images.shape[axis], step), axis) / step
    return images


def _spectra(sounds: np.ndarray, valid: np.ndarray, rate: float, bands: int = 32) -> np.ndarray:
    """(n, 8 bands) log power by band and by eighth of each sound, and how long it lasts."""
    found = []
    for sound, counts in zip(sounds, valid):
        parts = np.array_split(sound[counts], 8)
        size = max(64, 2 ** int(np.log2(max(64, len(parts[0])))))
        power = np.stack([np.abs(np.fft.rfft(part, size)) ** 2 / size for part in parts])[:, 1:]
        edges = np.unique(np.geomspace(1, power.shape[1], bands + 1).astype(int) - 1)[:-1]
        some = np.log(1e-6 + np.add.reduceat(power, edges, 1))
        wide = np.repeat(some, np.diff([*np.linspace(0, bands, len(edges) + 1).astype(int)]), 1)
        found.append(np.append(wide.ravel(), np.log(max(1, counts.sum()) / rate)))
    return np.stack(found)


def _pairs(text: bytes, size: int = 1024) -> np.ndarray:
    """(size,) how often words and triples of bytes stand in a text, by the hash of each; of length one."""
    found = np.zeros(size)
    codes = np.frombuffer(b" " + text.lower()[:20000] + b" ", np.uint8).astype(np.int64)
    triples = (codes[:-2] * 65536 + codes[1:-1] * 256 + codes[2:]) if len(codes) > 2 else codes
    np.add.at(found, (triples * 2654435761 >> 7) % size, 1.0)
    found = np.log1p(found)
    return found / max(1e-9, float(np.linalg.norm(found)))


def _both(first: bytes, second: bytes, size: int = 256) -> np.ndarray:
    """(4 size,) which words stand in each text, in both, and in one of them alone, by the hash of each."""
    words = [{fold("word", word) % size for word in text.lower().split()} for text in (first, second)]
    found = np.zeros((4, size))
    for row, places in zip(found, (*words, words[0] & words[1], words[0] ^ words[1])):
        row[list(places)] = 1.0
    return found.ravel()
