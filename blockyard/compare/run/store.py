"""The folder of a comparison: its plan, one folder a run, a log of what finished, and an index in SQLite.

    plan.json    what was decided before the first run       events.jsonl    one line a finished run
    runs/<key>/  log.jsonl, result.json, model/              index.sqlite    the same as a table

A folder belongs to one plan and one process at a time. Runs are found by key, so a comparison that was stopped at any
instant goes on where it stands.
"""

import fcntl
import json
import os
import sqlite3
import tempfile
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from blockyard.compare.documents import FORMAT, Plan
from blockyard.core.document import Document, Json
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document, sealed, strict, write_whole


@dataclass(frozen=True)
class Event(Document):
    """A run that has ended, whatever its end: a line of the log, a row of the table."""

    finished: str  # its key
    arm: str
    role: str
    seed: int
    lr: float
    status: str
    score: float | None
    seconds: float


class Store:
    """An opened and locked comparison folder."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        _usable(folder)
        self._lock = open(folder / ".lock", "a")  # noqa: SIM115  (held until the process ends)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{folder} is in use by another comparison; wait for it or use another --out") from None
        known = read_plan(folder)
        if known is not None and _asked(known) != _asked(plan):
            held, wanted = _asked(known), _asked(plan)
            differ = sorted(k for k in held.keys() | wanted.keys() if held.get(k) != wanted.get(k))
            raise UsageError(f"{folder} holds another plan (it differs in {', '.join(differ)}); use another --out")
        self.fresh = known is None
        self.plan = plan if known is None else _here(known, plan)
        self._rows: dict[str, Event] = {}

    def write_plan(self) -> None:
        write_whole(self.folder / "plan.json", sealed(self.plan.to_json()))
        self.fresh = False

    def run_folder(self, key: str) -> Path:
        return self.folder / "runs" / key

    def finished(self, event: Event) -> None:
        """Append a finished run to the log once, whatever was cut off before."""
        path = self.folder / "events.jsonl"
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_whole(path, whole)
        if self._known(event, whole):
            return
        with open(path, "ab") as log:
            log.write(json.dumps(strict(event.to_json())).encode() + b"\n")
            log.flush()
            os.fsync(log.fileno())

    def _known(self, event: Event, log: bytes) -> bool:
        """Whether the log has this run; UsageError where a line cannot be read or says otherwise than the run."""
        path, told = self.folder / "events.jsonl", strict(event.to_json())
        for number, line in enumerate(log.splitlines(), 1):
            try:
                said = strict(json.loads(line))
                found = said["finished"]
            except (ValueError, TypeError, KeyError, RecursionError):
                raise UsageError(f"{path} line {number} is damaged; remove the line") from None
            if found == event.finished:
                if said != told:
                    raise UsageError(f"{path} line {number} is not what run {found} found; remove the line")
                return True
        return False

    def index(self, events: list[Event]) -> None:
        """The finished runs as a table, made anew with these added."""
        self._rows |= {event.finished: event for event in events}
        aside = self.folder / f".index.{os.getpid()}"
        aside.unlink(missing_ok=True)
        table = sqlite3.connect(aside)
        with table:
            table.execute(
                "create table run (key text primary key, arm, role, seed, lr real, status, score real, seconds real)"
            )
            table.executemany("insert into run values (?, ?, ?, ?, ?, ?, ?, ?)", map(astuple, self._rows.values()))
        table.close()
        os.replace(aside, self.folder / "index.sqlite")


def _usable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; use another --out") from None
    strangers = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
    if strangers and not (folder / "plan.json").exists():
        raise UsageError(f"{folder} is not empty and holds no comparison ({strangers[0]}); use another --out")


def read_plan(folder: Path) -> Plan | None:
    """The plan of a comparison folder, if there is one."""
    path = folder / "plan.json"
    if not path.exists():
        return None
    try:
        return Plan.from_json(read_document(path, FORMAT, sealed_since=2), path)
    except UsageError as error:
        raise UsageError(f"{error}; use another --out") from None


ASKED = ("matched", "tuning", "alpha", "margin", "looks", "against", "seeds", "tuning_seed")


def _asked(plan: Plan) -> Json:
    """What can change a figure or a verdict, by name; where, when and by how many workers it is done cannot."""
    return {
        "arms": [(arm.label, arm.id) for arm in plan.arms],
        "data": [plan.data.hash, plan.data.task, plan.data.codec],
        **{name: getattr(plan, name) for name in ASKED},
        **{name: value for name, value in vars(plan.same).items() if name != "workers"},
        **{name: plan.versions.get(name) for name in ("torch", "numba", "numerics")},
    }


def _here(known: Plan, plan: Plan) -> Plan:
    """The plan of a folder as it is gone on with: by the workers, and from the files, of today."""
    same, data = replace(known.same, workers=plan.same.workers), replace(known.data, paths=plan.data.paths)
    return replace(known, same=same, data=data)
