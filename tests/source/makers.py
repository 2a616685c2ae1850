"""Folders of images, sounds and texts, as a user may have them."""

import wave

import numpy as np


def tone(path, pitch, *, rate=8000, seconds=0.1, bits=16, channels=1, seed=0):
    """A WAV file of one tone with a little noise, written by hand for every width of sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(rate * seconds)) / rate
    wave_ = 0.5 * np.sin(2 * np.pi * pitch * times) + 0.01 * np.random.default_rng(seed).standard_normal(len(times))
    if bits == 8:
        data = np.round(wave_ * 127 + 128).astype(np.uint8).tobytes()
    else:
        whole = np.round(wave_ * (2 ** (bits - 1) - 1)).astype("<i4")
        data = b"".join(int(x).to_bytes(bits // 8, "little", signed=True) * channels for x in whole)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(data)
    return wave_


def image(path, pixels, mode=None):
    """An image file of an array."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(np.asarray(pixels, np.uint8))
    (made if mode is None else made.convert(mode)).save(path)


def stripes(folder, count=12, size=(8, 8)):
    """Images of two classes: stripes that lie, stripes that stand."""
    draw = np.random.default_rng(0)
    for i in range(count):
        plain = np.where(np.arange(size[0])[:, None] // 2 % 2, 200, 30) + draw.integers(0, 20, size)
        image(folder / "lying" / f"{i}.png", plain)
        image(folder / "standing" / f"{i}.png", plain.T if size[0] == size[1] else plain[:, ::-1])
    return folder
