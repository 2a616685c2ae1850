"""The trackers of a run, by name, each told until it fails: what becomes of a tracker is no matter of the run."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from blockyard.core import registry
from blockyard.core.errors import UsageError, brief
from blockyard.systems import require_package
from blockyard.tracker._base import About, Figures, Tracker

Lost = Callable[[str, str], None]  # told of a tracker that failed, by its name and in words


def trackers(names: str | Sequence[str]) -> tuple[str, ...]:
    """The names of trackers, once each, of a list or of words with commas; UsageError where one is not known or its
    library is not there."""
    words = [names] if isinstance(names, str) else names
    said = [word.strip() for each in words for word in str(each).split(",")]
    if not all(said):
        raise UsageError(f"--log names trackers, with commas: {','.join(registry.entries('tracker'))}")
    found = [registry.find("tracker", name) for name in said]
    for entry in found:
        require_package(entry)
    return tuple(dict.fromkeys(entry.name for entry in found))


class Told:
    """What a run says to its trackers. Figures that are no number are left out; one that fails hears no more."""

    def __init__(self, names: Sequence[str], about: About | None, lost: Lost) -> None:
        self.names, self.about, self.lost = names, about, lost
        self.made: dict[str, Tracker] = {}

    def begin(self) -> None:
        """The run begins, or goes on: what its trackers kept of it before is gone."""
        for name in self.names if self.about is not None else ():
            with self._tried(name):
                self.made[name] = registry.find("tracker", name).load_named()(self.about)

    def point(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Figures after so many steps of training."""
        for name, tracker in [*self.made.items()]:
            with self._tried(name):
                tracker.point(step, _numbers(figures))

    def end(self, step: int, figures: Mapping[str, float | None], failed: str = "") -> None:
        """What came out of the run; `failed` is the reason where it failed."""
        for name, tracker in [*self.made.items()]:
            with self._tried(name):
                tracker.end(step, _numbers(figures), failed)
        self.made.clear()

    @contextlib.contextmanager
    def _tried(self, name: str) -> Iterator[None]:
        """What a tracker prints is nobody's; what it raises is told, and it is left out from here on."""
        try:
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                yield
        except Exception as error:
            self.made.pop(name, None)
            first = brief(str(error).strip().partition("\n")[0], 120)
            self.lost(name, f"tracker:{name} failed and hears no more of this run: {type(error).__name__}: {first}")


def _numbers(figures: Mapping[str, float | None]) -> Figures:
    return {name: float(value) for name, value in figures.items() if value is not None}
