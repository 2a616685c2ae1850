"""What a tracker promises, told of a small run."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from blockyard.core.claims import Verdict
from blockyard.core.registry import Entry
from blockyard.systems import require_package
from blockyard.tracker._base import About, Tracker

POINTS = 3


def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it."""
    require_package(entry)
    make: Callable[..., Tracker] = entry.load_named()
    with tempfile.TemporaryDirectory() as folder:
        about = About(str(Path(folder) / "logs"), "a comparison", "0" * 16, "an arm/of=words", "final", 0, 1e-3, {})

        def told(failed: str) -> None:
            tracker = make(about, **settings)
            for step in range(1, POINTS + 1):
                tracker.point(step, {"loss": 1 / step, "rate": 1e-3})
            tracker.end(POINTS, {} if failed else {"score": 0.5}, failed)

        yield _tried("is told of a run", lambda: told(""))
        kept = [path for path in Path(about.folder).rglob("*") if path.is_file()]
        yield Verdict("keeps it in its folder", bool(kept))
        yield _tried("is told again of a run that goes on", lambda: told(""))
        yield _tried("is told of a run that fails", lambda: told("the loss was nan"))


def _tried(claim: str, act: Callable[[], None]) -> Verdict:
    try:
        act()
    except Exception as error:
        return Verdict(claim, False, f"{type(error).__name__}: {error}")
    return Verdict(claim, True)
