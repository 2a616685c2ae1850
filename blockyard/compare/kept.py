"""What lies in the folder of a comparison or of a judgement: its outcome, written anew, and its runs as rows."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from blockyard.compare.documents import Report
from blockyard.compare.outcome import FORMAT, Judgement
from blockyard.compare.report.beside import Beside, beside
from blockyard.compare.report.beside_text import describe_beside, render_beside
from blockyard.compare.report.format import given
from blockyard.compare.report.result import write
from blockyard.compare.run.index import Event, Index
from blockyard.compare.run.store import read_plan
from blockyard.compare.sizes.documents import FORMAT as FORMAT_OF_SIZES
from blockyard.compare.sizes.documents import SizesReport
from blockyard.compare.sizes.folder import read_plan as read_sizes
from blockyard.compare.sizes.page import write as write_sizes
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document, sealed, write_whole

RUNS: tuple[str, ...] = ("arm", "role", "seed", "learning_rate", "status", "score", "seconds", "folder")

LISTED: tuple[str, ...] = ("folder", "arms", "budget", "seeds", "state", "when", "best")


def report(folder: str | Path) -> Report | Judgement | SizesReport:
    """The outcome that lies in a folder, with its report.html and report.txt written anew."""
    found = outcome(folder)
    return write_sizes(found, Path(folder)) if isinstance(found, SizesReport) else write(found, Path(folder))


def outcome(folder: str | Path) -> Report | Judgement | SizesReport:
    """The outcome that lies in a folder; UsageError where there is none."""
    path = Path(folder) / "result.json"
    if not path.exists():
        unfinished = any((Path(folder) / name).exists() for name in ("plan.json", "sizes.json"))
        why = "it is not finished: give its command again" if unfinished else "result.json is missing"
        raise UsageError(f"{folder} holds no outcome; {why}")
    data = read_document(path, FORMAT_OF_SIZES, sealed_since=2)
    if "sizes" in data:
        return SizesReport.from_json(data, path)
    if "sides" in data:
        raise UsageError(
            f"{folder} holds outcomes side by side: see {Path(folder) / 'report.html'}, or name their folders"
        )
    return Judgement.from_json(data, path) if "source" in data else Report.from_json(data, path)


def several(folders: Sequence[str | Path], out: str | Path | None = None) -> Beside:
    """Finished comparisons or judgements side by side, on a page of their own.

    out   the folder of result.json, report.txt and report.html (default: blockyard-out/ and the names)

    UsageError where that holds anything but an earlier page of the same folders.
    """
    found = [_of_one_size(folder) for folder in folders]
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    if len(set(paths)) < len(paths):
        raise UsageError("the same folder is named twice; what would stand beside itself says nothing")
    made = beside(found, _apart(paths), [str(folder) for folder in folders])
    place = Path(out or Path("blockyard-out") / "-beside-".join(side.name.replace("/", "-") for side in made.sides))
    _free(place, made)
    made = replace(made, report=str(place / "report.html"))
    try:
        write_whole(place / "result.json", sealed(made.to_json()))
        for name, page in (("report.txt", describe_beside(made) + "\n"), ("report.html", render_beside(made))):
            write_whole(place / name, page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UsageError(f"cannot write to {place}: {error.strerror}; name another --out") from None
    return made


def _of_one_size(folder: str | Path) -> Report | Judgement:
    """The outcome of a folder; a UsageError names the sizes of one that has several."""
    found = outcome(folder)
    if isinstance(found, SizesReport):
        names = ", ".join(place.folder for place in found.plan.places)
        raise UsageError(f"{folder} holds several sizes; name the folder of one: {names}")
    return found


def _apart(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths, of whole names, that tell them apart."""
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _free(place: Path, made: Beside) -> None:
    """Refuse a place that holds anything but these same sides."""
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    path = place / "result.json"
    try:
        held = [side.folder for side in Beside.from_json(read_document(path, FORMAT, sealed_since=2), path).sides]
    except UsageError:
        held = []
    if held != [side.folder for side in made.sides]:
        raise UsageError(f"{place} exists and holds something else; name another --out")


def listed(folder: str | Path) -> list[dict[str, Any]]:
    """What comparisons lie below a folder, in the order of their names: LISTED are the fields of each.

    state  finished; or how many of its final runs are done       when  of what was written last, to the second
    best   the arms that may be the best                          seeds  that are planned for every arm
    """
    return [line(path, Path(folder)) for path in sorted(_comparisons(Path(folder)))]


def line(path: Path, below: Path) -> dict[str, Any]:
    """What `listed` says of one comparison; its folder is told from `below` on."""
    plan = read_plan(path)
    if plan is None:
        raise UsageError(f"{path} holds no comparison: plan.json is missing")
    done = sum(row["role"] == "final" for row in runs(path))
    result = path / "result.json"
    best = _of_one_size(path).best if result.exists() else []
    written = max(each.stat().st_mtime for each in path.iterdir() if each.is_file())
    state = "finished" if result.exists() else f"{done} of {len(plan.seeds) * len(plan.arms)} runs"
    when = datetime.fromtimestamp(written).isoformat(" ", "seconds")
    arms, budget = [arm.label for arm in plan.arms], given(plan)
    told = (str(path.relative_to(below)), arms, budget, len(plan.seeds), state, when, best)
    return dict(zip(LISTED, told))


def _comparisons(folder: Path) -> Iterator[Path]:
    """The folders of comparisons below one, none of them inside another."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if (path / "plan.json").exists():
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _comparisons(path)


def runs(folder: str | Path) -> list[dict[str, Any]]:
    """Every finished run of a comparison, trials too, in the order that they ended; RUNS are its fields.

    Of several sizes those of each, whose `folder` says which."""
    if (sizes := read_sizes(Path(folder))) is not None:
        begun = [place.folder for place in sizes.places if (Path(folder) / place.folder / "plan.json").exists()]
        return [row | {"folder": f"{each}/{row['folder']}"} for each in begun for row in runs(Path(folder) / each)]
    plan, path = read_plan(Path(folder)), Path(folder) / "events.jsonl"
    if plan is None:
        raise UsageError(f"{folder} holds no comparison: plan.json is missing")
    names = {arm.id: arm.label for arm in (*plan.arms, *plan.bases)}
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            event = Event.from_json(json.loads(line), f"{path} line {number}")
        except ValueError:
            if number == len(lines):
                break  # cut off in the middle
            raise UsageError(f"{path} line {number} is damaged; remove the line") from None
        arm = names.get(event.arm, event.arm)  # of a plan before this one grew: by its id
        end = event.lr, event.status, event.score, event.seconds, f"runs/{event.finished}"
        found.append(dict(zip(RUNS, (arm, event.role, event.seed, *end))))
    return found


def indexed(url: str) -> list[dict[str, Any]]:
    """Every run of the table behind a URL, of all comparisons that were told to write there (`compare --index`)."""
    index = Index(url)
    try:
        rows = index.rows()
    except index.failures as error:
        raise UsageError(f"--index {index.said}: {index.why(error)}") from None
    return [{"comparison": row["comparison"]} | dict(zip(RUNS, _indexed(row))) for row in rows]


def _indexed(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("label", "role", "seed", "lr", "status", "score", "seconds")
    return (*(row[name] for name in names), f"{row['folder']}/runs/{row['key']}")
