"""Lines of JSON, a file a run; no library is needed.

    <folder>/lines/<role>/<arm>/seed-<seed>.jsonl        {"arm": ..., "seed": ..., "step": ..., "loss": ...}

Source   none
Family   trackers
Differs  nothing known

The last line has the score; of a run that failed it is NaN, and the reason stands beside it. A run that goes on begins
its file anew.
"""

import json
import math
from pathlib import Path

from blockyard.tracker._base import About, Figures, Tracker

Line = dict[str, str | int | float]


class Lines(Tracker):
    """A run as a file of lines."""

    def __init__(self, about: About) -> None:
        self.path = Path(about.folder) / "lines" / about.role / f"{about.path}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(b"")
        self.names: Line = {"run_name": about.path, "arm": about.arm, "seed": about.seed}
        self.last: Line = {}
        self.at = 0  # where the last line begins

    def point(self, step: int, figures: Figures) -> None:
        self._write({**self.names, "step": step, **figures})

    def end(self, step: int, figures: Figures, failed: str) -> None:
        last = self.last if self.last.get("step") == step else {**self.names, "step": step}
        said = {"score": math.nan, "failed": failed} if failed else figures
        self._write({**last, **said}, again=last is self.last)

    def _write(self, line: Line, again: bool = False) -> None:
        """A line behind the others, or in the place of the last one."""
        with open(self.path, "r+b") as file:
            self.at = file.seek(self.at) if again else file.seek(0, 2)
            file.write(json.dumps(line).encode() + b"\n")
        self.last = line
