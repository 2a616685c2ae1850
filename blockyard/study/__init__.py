"""Studies: small experiments that re-test a claim under an equal budget, with predictions written before the run.

`run_study("recall_and_attention", tier="small")` runs the races and writes `results/<study>/<date>.json`;
`status()` reads what is there.
"""

import math
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

from blockyard.compare.compare import compare
from blockyard.compare.documents import Report
from blockyard.compare.report.sheet import Sheet, alone
from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import read_document, sealed, write_whole
from blockyard.study._base import Figures, Study
from blockyard.study._record import FORMAT, RaceRecord, Record, Told

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
    for race in study.races:
        work = Path("runs") / "study" / entry.name / tier / race.name
        found = compare(race.arms, task=race.task, out=work, quiet=quiet, **race.options_at(tier))
        assert isinstance(found, Report)
        results[race.name] = found
    began_reading = time.monotonic()
    readings = {reading.name: _plain(reading.read(tier)) for reading in study.readings}
    reading_seconds = time.monotonic() - began_reading
    every = results | readings
    findings = [(p, p.judge(*(every[name] for name in p.races))) for p in study.predictions]
    record = Record(
        slug=entry.header.get("Slug", entry.name),
        study=entry.name,
        tier=tier,
        predictions=[Told(p.text, *finding) for p, finding in findings],
        verdict=study.verdict([finding for _, finding in findings]),
        seeds=max(
            [len(report.seeds) for report in results.values()]
            + [len(values) for figures in readings.values() for values in figures.values()]
        ),
        seconds=round(sum(_trained(report) for report in results.values()) + reading_seconds, 1),
        wall_seconds=round(time.monotonic() - began, 1),
        date=date.today().isoformat(),
        command=f"blockyard study {entry.name} --tier {tier}",
        races={name: RaceRecord.of(report) for name, report in results.items()},
        readings=readings,
    )
    sheet = study.page(results) if study.page else None
    if tier != "smoke":
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{record.date}.json", sealed(record.to_json()))
        if sheet:
            _write_page(sheet, folder)
    return record


def _plain(figures: Figures) -> dict[str, list[float | None]]:
    """Figures as a record holds them: what is not a number is none."""
    return {
        name: [float(each) if each is not None and math.isfinite(each) else None for each in seeds]
        for name, seeds in figures.items()
    }


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
    """The latest record of a study, without its races and readings; None where it was not run."""
    records = sorted((Path(out) / registry.find("study", name).name).glob("*.json"))
    if not records:
        return None
    try:
        record = Record.from_json(read_document(records[-1], FORMAT, sealed_since=2), records[-1])
    except UsageError as error:
        raise UsageError(f"{error}; it is no record of a study, remove it") from None
    return replace(record, races={}, readings={})


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
