"""Short sounds of eight kinds, each said by one of ten voices, made from a seed: what happens, and who it is.

    s(t) = e(t) sum_k a_k sin(2 pi k phi(t)) + noise        phi' = f(t)

The event says how the pitch f and the loudness e go, the voice a = (a_1 .. a_6) says what overtones there are; pitch,
start and loudness are drawn. `--task classify:label=voice` asks who it is.

Source   arXiv 2007.06028    Slug  tera    Family  audio
Differs  1,600 made sounds of a quarter of a second, in place of speech
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from blockyard.data.items import Items
from blockyard.data.rows import Held
from blockyard.source._base import Source

COUNT, RATE, SAMPLES = 1600, 8000, 2048
EVENTS = ("rise", "fall", "steady", "trill", "pulses", "swell", "leap", "burst")
VOICES, OVERTONES = 10, 6
LEVELS = 1 << 14


class Chirps(Source):
    gives = "items"
    known = True

    def read(self, paths: Sequence[str], **how: Any) -> Items:
        draw = np.random.RandomState(0)  # whose stream never changes
        voices = draw.dirichlet(np.full(OVERTONES, 0.5), VOICES) ** 0.5
        event, voice = np.arange(COUNT) % len(EVENTS), draw.randint(0, VOICES, COUNT)
        sounds = np.stack([_sound(draw, EVENTS[e], voices[v]) for e, v in zip(event, voice)]).astype(np.float32)
        said = [f"voice {v}" for v in voice]
        valid = np.ones(sounds.shape, bool)
        return Items(
            "chirps", hashlib.sha256(sounds.tobytes()).hexdigest(), "sounds",
            Held({"tokens": sounds, "valid": valid}), event, EVENTS, [f"chirp {i}" for i in range(COUNT)],
            rate=float(RATE), fields={"event": np.array(EVENTS)[event], "voice": np.array(said)},
        )  # fmt: skip


def _sound(draw: Any, event: str, overtones: np.ndarray) -> np.ndarray:
    """A sound (SAMPLES,) between -1 and 1."""
    t = np.linspace(0, 1, SAMPLES)
    low, where = draw.uniform(150, 350), draw.uniform(0.3, 0.7)
    loud = np.clip(np.minimum(t, 1 - t) * 20, 0, 1)
    pitch = {
        "rise": low * (1 + t), "fall": low * (2 - t), "trill": low * (1.3 + 0.3 * np.sign(np.sin(40 * np.pi * t))),
        "leap": low * (1 + (t > where)),
    }.get(event, np.full(SAMPLES, 1.5 * low))  # fmt: skip
    loud = loud * {
        "pulses": (np.sin(24 * np.pi * t + 6 * where) > 0).astype(float), "swell": t,
        "burst": np.exp(-((t - where) ** 2) * 200),
    }.get(event, np.ones(SAMPLES))  # fmt: skip
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tone = overtones @ np.sin(np.arange(1, OVERTONES + 1)[:, None] * phase)
    sound = np.clip(draw.uniform(0.15, 0.3) * loud * tone + 0.01 * draw.randn(SAMPLES), -1, 1)
    return np.round(sound * LEVELS) / LEVELS  # as a file would have it, and the same on every machine
