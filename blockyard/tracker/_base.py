"""What a tracker is: told of a run from its first point to its end, it keeps what it heard in a folder.

    made = Tracker(about)                 begins; whatever was kept of this run before is gone
    made.point(step, figures)             loss, rate, seconds, depth/<step of the model>/<figure>
    made.end(step, figures, failed)       score, also/<further figure>; a reason where the run failed

A run that goes on tells its tracker all of its points again, those of the part before from its log. So none is kept
twice, wherever the run was stopped, and a tracker need not know where it was.

A class says `package`, the library that it imports when it is made, and `extra`, who brings that.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from blockyard.core.document import Document

Figures = Mapping[str, float]


@dataclass(frozen=True)
class About(Document):
    """A run as its trackers know it.

    folder   of all that trackers keep of a comparison, which is called `group`        key    names the run's figures
    role     tune or final         lr   the peak rate        settings    further words of the run, the same at any time
    """

    folder: str
    group: str
    key: str
    arm: str
    role: str
    seed: int
    lr: float
    settings: dict[str, str | int | float]

    @property
    def name(self) -> str:
        """The run's own name; judged, it splits into the arm and the seed."""
        return f"{self.arm}/{self.last}"

    @property
    def path(self) -> str:
        """The same as names of folders: a label is anybody's text, so what could lead elsewhere stands as its code."""
        label = quote(self.arm, safe="+=,:|@ ")
        return f"{'%2E' * (len(label) - len(label.lstrip('.')))}{label.lstrip('.')}/{self.last}"

    @property
    def last(self) -> str:
        """What tells it from the other runs of its arm and role."""
        return f"seed-{self.seed}" if self.role == "final" else f"rate-{self.lr:.6g}-seed-{self.seed}"

    @property
    def words(self) -> dict[str, str | int | float]:
        """All that is told of a run before its first point."""
        return self.settings | {
            "arm": self.arm, "role": self.role, "seed": self.seed, "learning_rate": self.lr, "key": self.key,
        }  # fmt: skip


class Tracker(ABC):
    """One run, as one tracker keeps it. Whatever it raises is the end of the tracker, never that of the run."""

    package: str
    extra: str

    @abstractmethod
    def __init__(self, about: About) -> None:
        """Begin, with nothing of this run kept."""

    @abstractmethod
    def point(self, step: int, figures: Figures) -> None:
        """Figures after so many steps."""

    @abstractmethod
    def end(self, step: int, figures: Figures, failed: str) -> None:
        """What came out, after so many steps; `failed` is the reason where the run failed, else empty."""


def emptied(folder: Path) -> Path:
    """A folder with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
