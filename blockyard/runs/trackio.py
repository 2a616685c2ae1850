"""The database of a project of Trackio: runs by name, their steps and their settings.

    metrics   run_id, run_name, step, metrics (JSON)        configs   run_id, config (JSON)

A row for every step of a run, with a column for every figure, and `config.<name>` of the run's settings.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from blockyard.core.errors import UsageError
from blockyard.runs._read import Placed, Row, flat

FILES = "databases of Trackio (*.db)"
MAGIC = b"SQLite format 3\0"


def known(path: Path) -> bool:
    """By the end of its name and its first bytes."""
    if path.suffix != ".db" or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def rows(path: Path) -> Placed:
    """A row for every step of every run."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as table:
            told = table.execute("select run_id, config from configs").fetchall()
            said = table.execute("select run_id, run_name, step, metrics from metrics order by id").fetchall()
        configs = {run: _object(config) for run, config in told}
        steps: dict[tuple[str, str, int], Row] = {}
        for run, name, step, metrics in said:
            steps.setdefault((run, name, step), {}).update(_object(metrics))
    except (sqlite3.Error, ValueError) as error:
        raise UsageError(f"{path} is no database of Trackio: {error}") from None
    if not steps:
        raise UsageError(f"{path} holds no figures")
    for (run, name, step), figures in steps.items():
        config = {f"config.{key}": value for key, value in configs.get(run, {}).items() if not key.startswith("_")}
        yield f"{path}, {name}, step {step}", {"run_name": name, "run_id": run, **config, "step": step, **figures}


def _object(text: str) -> Row:
    found = flat(json.loads(text))
    return {name: _number(value) for name, value in found.items()}


def _number(value: object) -> object:
    """Numbers that JSON has no sign for are words there."""
    return {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.get(str(value), value)
