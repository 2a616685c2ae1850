"""The folder of a comparison: its plan, one folder a run, a log of what finished, and an index in SQLite.

    plan.json    what was decided before the first run       events.jsonl    one line a finished run
    runs/<key>/  log.jsonl, result.json, model/              index.sqlite    the same as a table
    earlier/<n>/ plan.json, result.json                      of verdicts that were read before the comparison grew

A folder belongs to one process at a time, and to one question: the same data, size, precision and shape of training.
Runs are found by key, so a comparison that was stopped at any instant goes on where it stands, and one that grows, by
arms, seeds or tokens, repeats nothing. Arms that were tuned keep their rates.
"""

import fcntl
import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from pathlib import Path

from blockyard.compare.documents import FORMAT, Arm, Job, Plan, Report, RunOrder
from blockyard.compare.run.index import Event, Index
from blockyard.core.document import Json
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document, sealed, strict, write_whole
from blockyard.tracker._base import About


class Store:
    """An opened and locked comparison folder; `beside` is a table that gets the rows of its index too."""

    def __init__(self, folder: Path, plan: Plan, trackers: Sequence[str] = (), beside: Index | None = None) -> None:
        self.folder, self.trackers, self.beside = folder, trackers, beside
        _usable(folder)
        self._lock = open(folder / ".lock", "a")  # noqa: SIM115  (held until the process ends)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{folder} is in use by another comparison; wait for it or use another --out") from None
        known = read_plan(folder)
        self.before: Plan | None = None  # that this one grows out of
        if known is not None and (differ := _differ(known, plan)):
            if others := [name for name in differ if name not in GROWS]:
                raise UsageError(f"{folder} holds another plan (it differs in {', '.join(others)}); use another --out")
            self.before = known
            known, plan = None, _grown(known, plan, seen=_is_outcome_of(folder, known))
        self.fresh = known is None
        self.plan = plan if known is None else _here(known, plan)
        self._rows: dict[str, Event] = {}
        self.lost: Callable[[str], None] = print  # told that the table could not be

    def close(self) -> None:
        """Let others have the folder before this process ends."""
        self._lock.close()

    def write_plan(self) -> None:
        if self.before is not None and _is_outcome_of(self.folder, self.before):
            self._keep_earlier()
        write_whole(self.folder / "plan.json", sealed(self.plan.to_json()))
        self.fresh = False

    def _keep_earlier(self) -> None:
        """The verdicts that were read so far, and what they were of, before they are those of another plan."""
        aside = self.folder / "earlier" / str(len(self.plan.earlier))
        aside.mkdir(parents=True, exist_ok=True)
        for name in ("result.json", "plan.json"):
            write_whole(aside / name, (self.folder / name).read_bytes())

    def tuned(self, seed: int, rates: dict[str, tuple[float, bool]]) -> None:
        """Keep what tuning gave."""
        if self.plan.tuned.get(str(seed)) != rates:
            self.plan = replace(self.plan, tuned=self.plan.tuned | {str(seed): rates})
            write_whole(self.folder / "plan.json", sealed(self.plan.to_json()))

    def run_folder(self, key: str) -> Path:
        return self.folder / "runs" / key

    def order(self, job: Job, key: str, arm: Arm) -> RunOrder:
        """What a worker is told to do of a run, and who is told of it."""
        logs = self.folder.resolve() / "logs"
        settings: dict[str, str | int | float] = {
            "recipe": arm.name, "params": arm.params, "steps": job.steps, "batch": job.batch, "length": job.length,
            "task": job.task or self.plan.data.name,
        }  # fmt: skip
        about = About(str(logs), self.folder.resolve().name, key, arm.label, job.role, job.seed, job.lr, settings)
        told = list(self.trackers)
        return RunOrder(job, str(self.run_folder(key).resolve()), trackers=told, about=about if told else None)

    def finished(self, event: Event) -> None:
        """Append a finished run to the log once, whatever was cut off before, and tell the table of it."""
        self._append(event)
        self._tell([event])

    def _append(self, event: Event) -> None:
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
        self._tell(list(self._rows.values()))

    def _tell(self, events: list[Event]) -> None:
        """What the table cannot be told now it is told with the rows of a later index."""
        if self.beside is None:
            return
        try:
            self.beside.write(self.folder, self.plan, events)
        except self.beside.failures as error:
            self.lost(f"--index {self.beside.said} was not written: {self.beside.why(error)}")


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


def finished_in(folder: Path) -> list[Report]:
    """The outcomes of comparisons that lie in a folder; what cannot be read is passed over."""
    found = []
    for path in sorted(folder.glob("*/result.json")):
        with suppress(UsageError):
            data = read_document(path, FORMAT, sealed_since=2)
            if "plan" in data:
                found.append(Report.from_json(data, path))
    return found


SIZES = ("params", "memory")  # of what is matched
ASKED = ("tuning", "alpha", "margin", "looks", "against", "seeds", "tuning_seed")


GROWS = ("arms", "budget", "margin", "alpha", "looks", "against", "seeds")  # what may be asked otherwise of one folder


def _differ(known: Plan, plan: Plan) -> list[str]:
    """In what two plans ask for different figures or verdicts."""
    held, wanted = _asked(known), _asked(plan)
    return sorted(name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name))


def _grown(known: Plan, plan: Plan, seen: bool) -> Plan:
    """A plan that goes on from another: with the rates and steps that its arms have, and as one look more where the
    verdicts of the other were read."""
    same = known.matched == plan.matched
    now = _name(plan)
    earlier = [each for each in (*known.earlier, *([_name(known)] if seen else [])) if each != now]
    return replace(
        plan, earlier=list(dict.fromkeys(earlier)), tuned=known.tuned if same else {}, steps=known.steps if same else {}
    )


def _is_outcome_of(folder: Path, plan: Plan) -> bool:
    """Whether the verdicts that lie in a folder are those of this plan, not of one before it that was outgrown."""
    path = folder / "result.json"
    if not path.exists():
        return False
    return _name(Plan.from_json(read_document(path, FORMAT, sealed_since=2).get("plan", {}), path)) == _name(plan)


def _name(plan: Plan) -> str:
    """Twelve hexadecimal digits that name what a plan asks for."""
    return hashlib.sha256(json.dumps(strict(_asked(plan)), sort_keys=True).encode()).hexdigest()[:12]


def _asked(plan: Plan) -> Json:
    """What can change a figure or a verdict, by name; where, when and by how many workers it is done cannot."""
    return {
        "arms": [(arm.label, arm.id) for arm in plan.arms],
        "data": [plan.data.hash, plan.data.task, plan.data.codec],
        "size": {name: value for name, value in plan.matched.items() if name in SIZES},
        "budget": {name: value for name, value in plan.matched.items() if name not in SIZES},
        **{name: getattr(plan, name) for name in ASKED},
        "reach": plan.reach,
        **{name: value for name, value in vars(plan.same).items() if name != "workers"},
        **{name: plan.versions.get(name) for name in ("torch", "numba", "numerics")},
    }


def _here(known: Plan, plan: Plan) -> Plan:
    """The plan of a folder as it is gone on with: by the workers, and from the files, of today."""
    same, data = replace(known.same, workers=plan.same.workers), replace(known.data, paths=plan.data.paths)
    return replace(known, same=same, data=data)
