"""What lies in the folder of a comparison or of a judgement: its outcome, written anew, and its runs as rows."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from blockyard.compare.documents import Report
from blockyard.compare.outcome import FORMAT, Judgement
from blockyard.compare.report.result import write
from blockyard.compare.run.index import Event, Index
from blockyard.compare.run.store import read_plan
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document

RUNS: tuple[str, ...] = ("arm", "role", "seed", "learning_rate", "status", "score", "seconds", "folder")


def report(folder: str | Path) -> Report | Judgement:
    """The outcome that lies in a folder, with its report.html and report.txt written anew."""
    return write(outcome(folder), Path(folder))


def outcome(folder: str | Path) -> Report | Judgement:
    """The outcome that lies in a folder; UsageError where there is none."""
    path = Path(folder) / "result.json"
    if not path.exists():
        unfinished = (Path(folder) / "plan.json").exists()
        why = "it is not finished: give its command again" if unfinished else "result.json is missing"
        raise UsageError(f"{folder} holds no outcome; {why}")
    data = read_document(path, FORMAT, sealed_since=2)
    return Judgement.from_json(data, path) if "source" in data else Report.from_json(data, path)


def runs(folder: str | Path) -> list[dict[str, Any]]:
    """Every finished run of a comparison, trials too, in the order that they ended; RUNS are its fields."""
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


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as a table of comma-separated values under a line of names."""
    text = io.StringIO()
    table = csv.DictWriter(text, [*(rows[0] if rows else RUNS)], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
