"""What a run leaves behind: its mean losses and, in a folder, a log of them and checkpoints to go on from.

A checkpoint says what it continues: the settings, and fingerprints of the system, the data and the first weights.
Whatever differs in one of them is another run, and is refused.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.core.files import strict, write_whole
from blockyard.train import checkpoint

UNSAID = {"optimiser": "adamw"}  # what checkpoints do not say from when there was one

WEIGHTS = "the first weights"
Figures = dict[str, float | None]  # by name; None where one is no number


class Journal:
    """The record of one run; `run` is taken up from the newest checkpoint of the folder, where there is one."""

    def __init__(self, run: Any, folder: Path | None) -> None:
        self.run, self.folder = run, folder
        self.curve: list[tuple[int, float]] = []
        self.inside: list[tuple[int, Figures]] = []
        self.spent, self.seen, self.since = 0.0, 0.0, 0
        if folder is not None:
            self.identity: dict[str, Any] = run.identity()
            folder.mkdir(parents=True, exist_ok=True)
            self._take_up(folder)
            self._cut_log(folder / "log.jsonl")
        self.written = run.step
        self.began = self.saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long the run has taken, what came before its checkpoint included."""
        return self.spent + time.perf_counter() - self.began

    @property
    def looked(self) -> int:
        """The step at which somebody last looked inside; 0: not yet."""
        return self.inside[-1][0] if self.inside else 0

    def aside(self, look: Callable[..., Mapping[str, np.ndarray]], *seen: Any) -> Mapping[str, np.ndarray]:
        """What somebody sees inside; the time that it takes is none of the run's."""
        began = time.perf_counter()
        found = look(*seen)
        self.began += time.perf_counter() - began
        return found

    def heard(self, loss: float | None) -> None:
        """Count the loss of a step; None counts for nothing."""
        if loss is not None:
            self.seen, self.since = self.seen + loss, self.since + 1

    def enter(self, inside: Mapping[str, np.ndarray]) -> tuple[int, float] | None:
        """The step and the mean loss since the last entry, logged, with figures of what is inside where there are any;
        None where no step had a loss."""
        if inside:
            self.inside.append((self.run.step, {name: _plain(value) for name, value in inside.items()}))
        if not self.since:
            return None
        point = (self.run.step, self.seen / self.since)
        self.curve.append(point)
        self.seen, self.since = 0.0, 0
        if self.folder is not None:
            line = {"step": point[0], "loss": point[1], "seconds": round(self.seconds, 3)}
            line |= {"inside": self.inside[-1][1]} if inside else {}
            with open(self.folder / "log.jsonl", "a") as log:
                log.write(json.dumps(strict(line)) + "\n")
        return point

    def save(self) -> None:
        """Write a checkpoint of the run as it stands, once a step; without a folder nothing."""
        if self.folder is None or self.written == self.run.step:
            return
        facts = {"step": self.run.step, "phase": self.run.phase, "seconds": self.seconds, "curve": self.curve}
        facts["inside"] = self.inside
        checkpoint.write(self.folder, self.run.step, self.run.tensors(), facts | {"continues": self.identity})
        self.written, self.saved = self.run.step, time.perf_counter()

    def _take_up(self, folder: Path) -> None:
        """Go on from the newest checkpoint that can be trusted; refuse one of another run."""
        found = checkpoint.latest(folder)
        if found is None:
            return
        tensors, facts = found
        here, there = self.identity, UNSAID | facts.get("continues", {})
        if here[WEIGHTS] == checkpoint.fingerprint({k: v for k, v in tensors.items() if k.startswith("model.")}):
            here = here | {WEIGHTS: there.get(WEIGHTS)}  # the model that this very run left
        differ = [
            name if name.startswith("the ") else f"{name} ({there.get(name)}, now {here.get(name)})"
            for name in sorted(here.keys() | there.keys())
            if name not in here or name not in there or here[name] != there[name]
        ]
        if differ:
            raise UsageError(
                f"{folder} holds a checkpoint of another run, it differs in {', '.join(differ)}; use another folder"
            )
        self.run.restore(tensors, facts)
        self.spent, self.curve = facts["seconds"], [(step, loss) for step, loss in facts["curve"]]
        self.inside = [(step, figures) for step, figures in facts.get("inside", [])]

    def _cut_log(self, path: Path) -> None:
        """Leave only the lines of steps that are not done again."""
        known = path.read_text().splitlines(keepends=True) if path.exists() else []
        kept = "".join(line for line in known if _step(line) <= self.run.step)
        if known and kept != "".join(known):
            write_whole(path, kept.encode())


def _plain(value: np.ndarray) -> float | None:
    return float(value) if math.isfinite(value) else None


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # cut off in the middle
        return float("inf")
