"""Sounds from WAV files, at one rate and of one length: mixed to one channel, padded with silence on the right."""

import io
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.items import Asked
from blockyard.data.rows import Arrays

MOST = 0.95  # the share of sounds that are heard to their end


@dataclass(frozen=True)
class Heard:
    """What the head of a file says: samples a second, and how many there are."""

    rate: int
    samples: int


def decode(name: str, data: bytes) -> tuple[int, np.ndarray]:
    """(samples a second, samples in [-1,1]) of a WAV file of 8, 16, 24 or 32 bits, its channels mixed to one."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # chunks that hold no sound
            rate, samples = wavfile.read(io.BytesIO(data))
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise UsageError(f"{name} is no WAV file that can be read ({len(data)} bytes): {error}") from None
    kind = samples.dtype
    if kind == np.uint8:
        values = (samples.astype(np.float32) - 128) / 128
    elif kind.kind == "i":
        values = samples.astype(np.float32) / float(-int(np.iinfo(kind).min))
    else:
        values = np.nan_to_num(samples.astype(np.float32))
    return int(rate), values if values.ndim == 1 else values.mean(1)


def common_rate(heard: Sequence[Heard]) -> int:
    """The rate that most sounds have, the higher one where two are as common."""
    return max(Counter(each.rate for each in heard).items(), key=lambda item: (item[1], item[0]))[0]


class Clips:
    """Sounds (n,S) with "valid" (n,S), read when they are asked for; longer ones are cut at their end.

    paths     of the files        heard   of each, what its head says        rate   that all are brought to
    samples   that all get; None: as many as most of them have
    lengths   (n,) samples of each, as they are heard        cut   how many are not heard to their end
    """

    def __init__(
        self, paths: Sequence[str], heard: Sequence[Heard], rate: int, samples: int | None = None
    ) -> None:  # fmt: skip
        self.paths, self.rate = paths, rate
        lengths = np.array([-(-each.samples * rate // each.rate) for each in heard])
        most = samples or int(np.ceil(np.quantile(lengths, MOST, method="higher")))
        self.size = samples or min(most, int(lengths.max()))
        self.lengths, self.cut = np.minimum(lengths, most), int((lengths > most).sum())
        self.rows = Asked(len(paths), self._read, self._finish)

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, index: Any) -> Arrays:
        """The arrays of the rows of an index or a slice."""
        return self.rows.take(index)

    def _read(self, place: int) -> np.ndarray:
        path = self.paths[place]
        try:
            with open(path, "rb") as file:
                rate, samples = decode(path, file.read())
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        if rate != self.rate:
            from scipy.signal import resample_poly

            shared = gcd(rate, self.rate)
            samples = resample_poly(samples, self.rate // shared, rate // shared).astype(np.float32)
        row = np.zeros(self.size, np.float32)
        row[: self.lengths[place]] = samples[: self.lengths[place]]
        return row

    def _finish(self, stack: np.ndarray, places: np.ndarray) -> Arrays:
        return {"tokens": stack, "valid": np.arange(stack.shape[1]) < self.lengths[places, None]}
