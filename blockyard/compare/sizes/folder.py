"""The folder of several sizes: a plan and predictions above the comparison of every size.

    sizes.json         what was decided before the first run      predictions.json   what was said of sizes beforehand
    <size>-<budget>/   the comparison of one size, as any other   result.json, report.txt, report.html
    earlier/<n>/       sizes.json, result.json                    of outcomes that were read before the folder grew

A prediction for a place may be made anew until the place has begun, which is when its folder has a plan; from then on
it stays as it was written, and one that was not written by then is never made. So no kill lets a size be seen before
what was said of it.
"""

import fcntl
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from blockyard.compare.sizes.documents import FORMAT, Foreseen, Foresight, SizesPlan, SizesReport
from blockyard.core.document import Json
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document, sealed, strict, write_whole

PLAN, PREDICTIONS, RESULT = "sizes.json", "predictions.json", "result.json"
FIXED = ("data", "axis", "length", "batch")  # what cannot be asked otherwise of one folder


class Folder:
    """An opened and locked folder of several sizes."""

    def __init__(self, folder: Path, plan: SizesPlan) -> None:
        self.folder = folder
        _usable(folder)
        self._lock = open(folder / ".lock", "a")  # noqa: SIM115  (held until the process ends, or this is closed)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{folder} is in use by another comparison; wait for it or use another --out") from None
        known = read_plan(folder)
        self.plan = plan if known is None else self._grown(known, plan)
        self.foresight = self._read_foresight()
        if self.plan != known:
            write_whole(folder / PLAN, sealed(self.plan.to_json()))

    def close(self) -> None:
        """Give the folder back."""
        self._lock.close()

    def _grown(self, known: SizesPlan, plan: SizesPlan) -> SizesPlan:
        """The plan that goes on from another, as one look more where the outcome of the other was read."""
        if others := [name for name in FIXED if getattr(known, name) != getattr(plan, name)]:
            raise UsageError(f"{self.folder} holds other sizes (they differ in {', '.join(others)}); use another --out")
        seen, now = _outcome_of(self.folder, known), name_of(plan)
        before = [*known.earlier, *([name_of(known)] if seen else [])]
        earlier = list(dict.fromkeys(each for each in before if each != now))
        if seen and name_of(known) != now:
            aside = self.folder / "earlier" / str(len(earlier))
            for name in (PLAN, RESULT):
                write_whole(aside / name, (self.folder / name).read_bytes())
        return replace(plan, earlier=earlier)

    def _read_foresight(self) -> Foresight:
        path = self.folder / PREDICTIONS
        return Foresight.from_json(read_document(path, FORMAT, sealed_since=1), path) if path.exists() else Foresight()

    def begun(self, folder: str) -> bool:
        """Whether the comparison of a place has begun."""
        return (self.folder / folder / "plan.json").exists()

    def foreseen(self, folder: str) -> Foreseen | None:
        """What was said of a place."""
        return next((each for each in self.foresight.foreseen if each.place.folder == folder), None)

    def foresee(self, said: Sequence[Foreseen]) -> None:
        """Write down what is said of places that have not begun; what was said of them before gives way.

        UsageError where one of them has begun: nobody knows then what was seen first.
        """
        if late := [each.place.folder for each in said if self.begun(each.place.folder)]:
            raise UsageError(f"{self.folder / late[0]} has begun; nothing can be predicted of it any more")
        new = {each.place.folder for each in said}
        stays = [each for each in self.foresight.foreseen if each.place.folder not in new]
        found = Foresight([*stays, *said])
        if found != self.foresight:
            self.foresight = found
            write_whole(self.folder / PREDICTIONS, sealed(found.to_json()))


def name_of(plan: SizesPlan) -> str:
    """Twelve hexadecimal digits that name what a plan asks for."""
    asked = {name: value for name, value in plan.to_json().items() if name not in ("earlier", "format")}
    return hashlib.sha256(json.dumps(strict(asked), sort_keys=True).encode()).hexdigest()[:12]


def read_plan(folder: Path) -> SizesPlan | None:
    """The plan of a folder of several sizes, None where it is none."""
    path = folder / PLAN
    return SizesPlan.from_json(read_document(path, FORMAT, sealed_since=1), path) if path.exists() else None


def read_report(data: Json, path: Path) -> SizesReport | None:
    """The outcome that a result.json holds, None where it is one of a single comparison."""
    return SizesReport.from_json(data, path) if "sizes" in data else None


def _outcome_of(folder: Path, plan: SizesPlan) -> bool:
    """Whether the outcome that lies in a folder is that of this plan."""
    path = folder / RESULT
    if not path.exists():
        return False
    found = read_report(read_document(path, FORMAT, sealed_since=1), path)
    return found is not None and name_of(found.plan) == name_of(plan)


def _usable(folder: Path) -> None:
    """UsageError where nothing can be written there, or something else lies there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strangers = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; use another --out") from None
    if strangers and not (folder / PLAN).exists():
        what = "the comparison of one size" if (folder / "plan.json").exists() else f"something else ({strangers[0]})"
        raise UsageError(f"{folder} holds {what}; use another --out for several")
