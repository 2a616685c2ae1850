"""What earlier versions wrote is read as it was: plans, runs, reports and records of studies."""

import json
import shutil
from pathlib import Path

import pytest

import blockyard as by
from blockyard.compare.documents import FORMAT, Report
from blockyard.compare.report.result import assemble, write
from blockyard.compare.report.terminal import describe
from blockyard.compare.run.job import read_result
from blockyard.compare.run.store import Store, read_plan
from blockyard.compare.sizes.documents import FORMAT as FORMAT_OF_SIZES
from blockyard.compare.sizes.documents import SizesReport
from blockyard.core.files import read_document
from blockyard.study import studies
from blockyard.study._record import Record

OLD = Path(__file__).parent / "old"
KEPT = Path(__file__).parents[2] / "results"


def plain(path):
    held = json.loads(path.read_text())
    return {name: value for name, value in held.items() if name not in ("checksum", "format")}


def same(new, old):
    """Whether everything that is in the old document is in the new one; what is new may stand beside it."""
    if isinstance(old, dict):
        return all(same(new[name], value) for name, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(same, new, old))
    return new == old


def test_a_folder_from_before_documents_had_types(tmp_path):
    plan, report = read_plan(OLD), Report.from_json(read_document(OLD / "result.json", FORMAT, 2), OLD)
    assert same(plan.to_json(), plain(OLD / "plan.json")) and same(report.to_json(), plain(OLD / "result.json"))
    assert describe(report) + "\n" == (OLD / "report.txt").read_text()
    runs = {folder.name: read_result(folder) for folder in (OLD / "runs").iterdir()}
    assert all(same(run.to_json(), plain(OLD / "runs" / key / "result.json")) for key, run in runs.items())
    held = {(arm.name, run.seed): runs[Path(run.folder).name] for arm in report.arms for run in arm.runs}
    done = {(arm.id, seed): held[arm.label, seed] for seed in plan.seeds for arm in plan.arms}  # in their order
    again = assemble(plan, plan.seeds, done, dict.fromkeys(done, (5e-3, False)), [{}])
    found = json.loads(json.dumps(write(again, tmp_path).to_json()))
    assert same(found, plain(OLD / "result.json") | {"report": f"{tmp_path}/report.html"})


def test_an_old_folder_is_gone_on_with(tmp_path):
    shutil.copytree(OLD, tmp_path / "old")
    plan = read_plan(OLD)
    store = Store(tmp_path / "old", plan)
    assert not store.fresh and store.plan == plan
    store._lock.close()


@pytest.mark.parametrize("path", sorted(KEPT.glob("*/result.json")), ids=lambda path: path.parent.name)
def test_kept_reports_are_read(path):
    several = "sizes" in plain(path)
    held = read_document(path, FORMAT_OF_SIZES if several else FORMAT, 2)
    report = (SizesReport if several else Report).from_json(held, path)
    assert same(report.to_json(), plain(path)) and (several or report.best) and str(report)
    with pytest.raises(by.UsageError, match="needs 4 or more distinct"):
        by.scaling([path.parent])


@pytest.mark.parametrize("path", [path for name in studies() for path in sorted((KEPT / name).glob("*.json"))], ids=str)
def test_kept_records_are_read(path):
    record = Record.from_json(read_document(path, FORMAT, 2), path)
    assert same(record.to_json(), plain(path)) and record.verdict and (record.races or record.trials)
