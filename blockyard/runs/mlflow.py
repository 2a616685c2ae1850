"""The folder in which MLflow keeps runs when no server does: mlruns/EXPERIMENT/RUN, or a part of it.

    meta.yaml           the run's name and status           metrics/NAME   lines of time, value and step
    params/, tags/      a file each                         status         FINISHED, FAILED, KILLED or RUNNING

A row for every step of a run that has a metric. A run that failed, or was killed, says so in the column status.
"""

from pathlib import Path

from blockyard.core.errors import UsageError
from blockyard.runs._read import Placed, Row
from blockyard.runs.delimited import number_of

FILES = "folders of MLflow (mlruns)"
STATUS = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}


def known(path: Path) -> bool:
    """Whether this is the folder of a run: of experiments and of all of them, those below it are found."""
    return (path / "meta.yaml").is_file() and (path / "metrics").is_dir()


def rows(path: Path) -> Placed:
    """A row for every step."""
    about = _meta(path / "meta.yaml")
    if about.get("lifecycle_stage") == "deleted":
        return
    name = _content(path / "tags" / "mlflow.runName") or about.get("run_name") or path.name
    run: Row = {"run_name": name, "run_id": path.name, "experiment": path.parent.name}
    run["status"] = STATUS.get(about.get("status", ""), about.get("status", ""))
    for kind in ("params", "tags"):
        for file in sorted((path / kind).rglob("*")):
            if file.is_file() and not file.name.startswith("mlflow."):
                run[f"{kind}.{file.relative_to(path / kind)}"] = number_of(_content(file))
    steps: dict[int, Row] = {}
    for file in sorted((path / "metrics").rglob("*")):
        if file.is_file():
            for number, line in enumerate(_content(file).splitlines(), start=1):
                words = line.split()
                if len(words) < 2 or not isinstance(value := number_of(words[1]), int | float):
                    raise UsageError(f"{file}, line {number} is no time, value and step: {line[:40]!r}")
                step = int(words[2]) if len(words) > 2 and words[2].lstrip("-").isdigit() else 0
                steps.setdefault(step, {})[str(file.relative_to(path / "metrics"))] = value
    for step, metrics in sorted(steps.items()):
        yield f"{path}, step {step}", {**run, "step": step, **metrics}


def _meta(path: Path) -> dict[str, str]:
    """The lines of a meta.yaml, which are all `name: value`."""
    pairs = (line.partition(":") for line in _content(path).splitlines())
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() if path.exists() else ""
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"cannot read {path}") from None
