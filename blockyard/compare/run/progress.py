"""What a person sees while a comparison runs: one bar with the time left, and a line for every finished run."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from blockyard.core.numbers import clock


class Watch:
    """Progress on standard error: a bar on a terminal, a plain line every few seconds elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=quiet)
        self.total, self.done = 1.0, 0.0
        self.doing: dict[int, float] = {}
        self.said: set[str] = set()
        self.spoke = self.began = time.monotonic()
        self.bar: Progress | None = None

    def say(self, line: str) -> None:
        """Print a line as it is; bytes of a file's name that are no text appear as their codes."""
        self.console.print(line.encode("utf-8", "backslashreplace").decode())

    def once(self, of: str, line: str) -> None:
        """Say a line, the first time that there is one of this."""
        if of not in self.said:
            self.said.add(of)
            self.say(line)

    def start(self, total: float) -> None:
        """`total` seconds of work are to come, spread over all workers."""
        self.total, self.began = max(total, 1e-9), time.monotonic()
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"))
            self.bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console)
            self.task = self.bar.add_task("training", total=1.0)
            self.bar.start()

    def at(self, run: int, seconds: float, loss: float, inside: str = "") -> None:
        """A run has done so many of its expected seconds; `inside`: words on what was last seen there."""
        self.doing[run] = seconds
        self._show(f"loss {loss:.3f}" + (f", {inside}" if inside else ""))

    def finished(self, run: int, seconds: float, line: str) -> None:
        self.doing.pop(run, None)
        self.done += seconds
        self.say(line)
        self._show("")

    def _show(self, what: str) -> None:
        part = min(1.0, (self.done + sum(self.doing.values())) / self.total)
        if self.bar is not None:
            self.bar.update(self.task, completed=part)
        elif time.monotonic() - self.spoke > 10 and part > 0:
            self.spoke = time.monotonic()
            spent = self.spoke - self.began
            self.say(f"{part:4.0%}  {clock(spent)} spent, about {clock(spent / part * (1 - part))} left  {what}")

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        sys.stderr.flush()
