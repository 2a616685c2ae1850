"""Studies: small experiments that re-test a claim under an equal budget, with predictions written before the run.

`run_study("recall_and_attention", tier="small")` runs the races and writes `results/<study>/<date>.json`;
`status()` reads what is there.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

from blockyard.compare.compare import compare
from blockyard.compare.documents import Report
from blockyard.compare.report.sheet import Sheet, alone
from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import read_document, sealed, write_whole
from blockyard.model.model import Model
from blockyard.model.save import load_model
from blockyard.study._base import Given, Study, Trial
from blockyard.study._record import FORMAT, Measured, RaceRecord, Record, Told

TIERS = ("smoke", "small")


def studies() -> list[str]:
    """The names of all studies."""
    return list(registry.entries("study"))


def run_study(name: str, tier: str = "small", out: str | Path = "results", quiet: bool = False) -> Record:
    """Run a study at a tier and keep its record; runs that a stopped study has finished are not repeated."""
    entry = registry.find("study", name)
    if tier not in TIERS:
        raise unknown("tier", tier, TIERS)
    study: Study = entry.load().study()
    began, folder = time.monotonic(), Path(out) / entry.name
    results: dict[str, Report] = {}
    works = Path("runs") / "study" / entry.name / tier
    for race in study.races:
        options = race.options_at(tier)
        found = compare(race.arms, task=race.task, out=works / race.name, quiet=quiet, **options)
        assert isinstance(found, Report)
        results[race.name] = found
    measured = {trial.name: _measured(trial, results, works, quiet) for trial in study.trials}
    looked = {**results, **measured}
    findings = [(p, p.judge(*(looked[name] for name in p.races))) for p in study.predictions]
    record = Record(
        slug=entry.header.get("Slug", entry.name),
        study=entry.name,
        tier=tier,
        predictions=[Told(p.text, *finding) for p, finding in findings],
        verdict=study.verdict([finding for _, finding in findings]),
        seeds=max(*(len(report.seeds) for report in results.values()), *map(len, measured.values()), 0, 0),
        seconds=round(sum(_trained(report) for report in results.values()), 1),
        wall_seconds=round(time.monotonic() - began, 1),
        date=date.today().isoformat(),
        command=f"blockyard study {entry.name} --tier {tier}",
        races={name: RaceRecord.of(report) for name, report in results.items()},
        trials=measured,
    )
    sheet = study.page(results) if study.page else None
    if tier != "smoke":
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{record.date}.json", sealed(record.to_json()))
        if sheet:
            _write_page(sheet, folder)
    return record


def _number(value: float | None) -> float | None:
    """What a record holds: none where it is no number."""
    return float(value) if value is not None and math.isfinite(value) else None


def _measured(trial: Trial, results: Mapping[str, Report], works: Path, quiet: bool) -> Measured:
    """The figures of a trial, seed by seed; the races lie in `works`."""
    seeds = next(iter(results.values())).seeds if results else range(trial.seeds)
    found = []
    for seed in seeds:
        figures = trial.run(Given(seed, works.name, partial(_trained_model, results, works, seed)))
        found.append({name: _number(value) for name, value in figures.items()})
        if not quiet:
            said = "  ".join(f"{name} {'-' if x is None else f'{x:.4g}'}" for name, x in found[-1].items())
            print(f"{trial.name}, seed {seed}: {said}")
    return found


def _trained_model(results: Mapping[str, Report], works: Path, seed: int, race: str, arm: str) -> Model:
    """The model that a race has trained for an arm with a seed, ready to be looked into."""
    run = next(run for run in results[race].arm(arm).runs if run.seed == seed)
    return load_model(works / race / run.folder / "model")


def _write_page(sheet: Sheet, folder: Path) -> None:
    """The page, each of its pictures by itself, and its table, beside the records."""
    write_whole(folder / "page.html", sheet.html().encode())
    for picture in sheet.pictures:
        write_whole(folder / f"{picture.name}.svg", alone(picture.svg).encode())
    if sheet.table:
        write_whole(folder / "table.md", sheet.table.markdown().encode())


def _trained(report: Report) -> float:
    """Seconds of training of the final runs; arms of one training count it once."""
    return sum({arm.base or arm.name: sum(arm.seconds) for arm in report.arms}.values())


def status(out: str | Path = "results") -> list[Record]:
    """The latest record of every study that was run, without its races."""
    return [record for name in studies() if (record := last_record(name, out))]


def last_record(name: str, out: str | Path = "results") -> Record | None:
    """The latest record of a study, without its races and trials; None where it was not run."""
    records = sorted((Path(out) / registry.find("study", name).name).glob("*.json"))
    if not records:
        return None
    try:
        record = Record.from_json(read_document(records[-1], FORMAT, sealed_since=2), records[-1])
    except UsageError as error:
        raise UsageError(f"{error}; it is no record of a study, remove it") from None
    return replace(record, races={}, trials={})


def changes(before: Record | None, now: Record) -> list[str]:
    """What came out otherwise than it did the last time, a line each: the verdict, and every prediction of both."""
    if before is None:
        return []
    said = {told.text: told.verdict for told in before.predictions}
    found = [f"{told.text}: {said[told.text]} on {before.date}, {told.verdict} now"
             for told in now.predictions if said.get(told.text, told.verdict) != told.verdict]  # fmt: skip
    if before.verdict != now.verdict:
        found.insert(0, f"the verdict on {now.study} was: {before.verdict} ({before.date}); it is: {now.verdict}")
    return found


__all__ = ["TIERS", "changes", "last_record", "run_study", "status", "studies"]
