"""What a run leaves behind: its mean losses and, in a folder, a log of them and checkpoints to go on from.

A checkpoint says what it continues: the settings, and fingerprints of the system, the data and the first weights.
Whatever differs in one of them is another run, and is refused. Who follows a run hears every line of its log, those of
the part before a checkpoint first.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.core.files import strict, write_whole
from blockyard.train import checkpoint

UNSAID = {"optimiser": "adamw"}  # what checkpoints do not say from when there was one

WEIGHTS = "the first weights"
Figures = dict[str, float | None]  # by name; None where one is no number


@dataclass(frozen=True)
class Line(Document):
    """A line of the log: after how many steps, the mean loss since the last line, the seconds that the run has taken,
    the rate of the last step, and figures of what is inside where somebody looked."""

    step: int
    loss: float | None
    seconds: float
    rate: float | None = None
    inside: Figures = field(default_factory=dict)


Follow = Callable[[Line], None]


class Journal:
    """The record of one run; `run` is taken up from the newest checkpoint of the folder, where there is one.

    follow   told of every line of the log; the time that it takes is none of the run's
    """

    def __init__(self, run: Any, folder: Path | None, follow: Follow | None = None) -> None:
        self.run, self.folder, self.follow = run, folder, follow
        self.curve: list[tuple[int, float]] = []
        self.inside: list[tuple[int, Figures]] = []
        self.spent, self.seen, self.since = 0.0, 0.0, 0
        if folder is not None:
            self.identity: dict[str, Any] = run.identity()
            folder.mkdir(parents=True, exist_ok=True)
            self._take_up(folder)
            run.spread.same(run.step)
            if run.spread.first:
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

    def aside(self, look: Callable[..., Any], *seen: Any) -> Any:
        """What somebody finds who looks on; the time that it takes is none of the run's."""
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
        line = Line(*point, round(self.seconds, 3), self.run.rate, self.inside[-1][1] if inside else {})
        if self.folder is not None and self.run.spread.first:
            said = line.to_json() if inside else {k: v for k, v in line.to_json().items() if k != "inside"}
            with open(self.folder / "log.jsonl", "a") as log:
                log.write(json.dumps(strict(said)) + "\n")
        if self.follow is not None:
            self.aside(self.follow, line)
        return point

    def save(self) -> None:
        """Write a checkpoint of the run as it stands, once a step; without a folder nothing."""
        if self.folder is None or self.written == self.run.step:
            return
        facts = {"step": self.run.step, "phase": self.run.phase, "seconds": self.seconds, "curve": self.curve}
        facts["inside"] = self.inside
        tensors = self.run.tensors()  # which all processes gather
        if self.run.spread.first:
            checkpoint.write(self.folder, self.run.step, tensors, facts | {"continues": self.identity})
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
        """Leave only the lines of steps that are not done again, and tell who follows of them."""
        known = path.read_text().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in known if _step(line) <= self.run.step]
        if kept != known:
            write_whole(path, "".join(kept).encode())
        if self.follow is not None:
            for line in kept:
                self.follow(Line.from_json(json.loads(line), path))


def _plain(value: np.ndarray) -> float | None:
    return float(value) if math.isfinite(value) else None


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except ValueError:  # cut off in the middle
        return float("inf")
