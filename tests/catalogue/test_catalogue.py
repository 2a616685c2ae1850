"""The catalogue: every system is in it, and its status is what the parts, recipes and records say."""

import json
import subprocess
import sys

import pytest

from blockyard import cli
from blockyard.catalogue import STATUSES, catalogue, index, records
from blockyard.core import registry
from blockyard.core.errors import UsageError
from tests import record

KEYS = ["slug", "title", "year", "family", "kind", "parts", "recipe", "study", "study_verdict", "tests", "status"]
GOOD = {"passed": 3, "failed": 0, "skipped": 0}


def row(slug):
    return next(row.to_json() for row in catalogue() if row.slug == slug)


@pytest.fixture
def known(monkeypatch):
    """A function that makes these the only records, of sources that are what they were."""

    def put(**systems):
        base = {"date": "2026-01-01", "version": "0", "file": "-", "must_hold": GOOD}
        found = {slug: records.Record.from_json(base | told, slug) for slug, told in systems.items()}
        monkeypatch.setattr(index, "read_records", lambda: found)

    return put


def test_all_systems_in_order():
    rows = [row.to_json() for row in catalogue()]
    assert len(rows) == 207 and len({row["slug"] for row in rows}) == 207
    assert all(list(row) == KEYS for row in rows)
    assert {row["status"] for row in rows} <= set(STATUSES)
    assert all(1900 < row["year"] < 2100 and row["title"] and row["family"] and row["kind"] for row in rows)
    json.dumps(rows)


def test_it_needs_no_torch():
    code = "import sys; from blockyard.catalogue import catalogue; catalogue(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_status_is_folded(known):
    known()
    assert row("kat")["status"] == "planned" and row("kat")["parts"] == [] and row("kat")["tests"] is None
    assert row("gla")["status"] == "draft"
    known(gla={})
    assert row("gla")["status"] == "checked"
    known(gla={"oracle": GOOD})
    assert row("gla")["status"] == "matched"
    known(gla={"study": {"name": "gla", "verdict": "does not hold"}})
    assert row("gla")["status"] == "raced" and row("gla")["study"] == "gla"


@pytest.mark.parametrize("told, status", [
    ({"must_hold": {"passed": 3, "failed": 1, "skipped": 0}}, "draft"),
    ({"must_hold": {"passed": 3, "failed": 0, "skipped": 1}}, "draft"),
    ({"must_hold": {"passed": 0, "failed": 0, "skipped": 0}}, "draft"),
    ({"must_hold": {"passed": 3, "failed": 1, "skipped": 0}, "oracle": GOOD}, "draft"),
    ({"oracle": {"passed": 1, "failed": 1, "skipped": 0}}, "checked"),
    ({"sources": {"blockyard/kernels/conv/op.py": "000000000000"}}, "draft"),
    ({"sources": {"blockyard/no_such_file.py": "000000000000"}}, "draft"),
])  # fmt: skip
def test_what_failed_was_left_out_or_is_stale_does_not_count(known, told, status):
    known(gla=told)
    assert row("gla")["status"] == status


def test_without_a_checkout_a_record_is_taken_as_it_is(known, monkeypatch):
    known(gla={"sources": {"blockyard/kernels/conv/op.py": "000000000000"}})
    monkeypatch.setattr(records, "checkout", lambda: None)
    assert row("gla")["status"] == "checked"


def test_a_fingerprint_follows_the_text(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    first = records.fingerprint(path)
    path.write_bytes(b"x = 1\r\n")
    assert records.fingerprint(path) == first and len(first) == 12
    path.write_text("x = 2\n")
    assert records.fingerprint(path) != first and records.fingerprint(tmp_path / "b.py") == ""


def test_newer_records_are_refused(tmp_path):
    assert records.read_records(tmp_path) == {}
    (tmp_path / "gla.json").write_text('{"format": 99, "file": "x"}')
    with pytest.raises(UsageError, match="upgrade"):
        records.read_records(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", "{}", '{"format": "x"}', '{"format": 2, "file": 3}'])
def test_damaged_records_are_a_line(content, tmp_path):
    (tmp_path / "gla.json").write_text(content)
    with pytest.raises(UsageError, match=r"gla\.json is damaged") as caught:
        records.read_records(tmp_path)
    assert "\n" not in str(caught.value)


def test_parts_are_those_of_the_header_and_of_the_recipe(known):
    known()
    gla, delta = row("gla"), row("deltanet")
    assert gla["recipe"] == "gla" and {"mixer:gla", "channel:gated", "norm:rms", "depth:stack"} <= set(gla["parts"])
    assert "position:rope" not in gla["parts"] and "position:rope" in row("peri-ln")["parts"]
    assert delta["recipe"] == "deltanet" and {"mixer:deltanet", "mixer:gated_deltanet"} <= set(delta["parts"])
    assert "mixer:hgrn2" in row("hybrid-linear-attention")["parts"]
    assert all(registry.find(*part.split(":")) for r in catalogue() for part in r.parts)


def test_the_verb_prints_it(capsys):
    assert cli.main(["catalogue", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [row.to_json() for row in catalogue()]
    assert cli.main(["catalogue"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 207


def test_records_are_of_systems_that_exist():
    found = records.read_records()
    assert set(found) <= {line["slug"] for line in index.systems()}
    for slug, told in found.items():
        assert told.file in told.sources and any("parts" in path for path in told.sources), slug
        assert "blockyard/core/site.py" in told.sources and "blockyard/cli/_main.py" not in told.sources


def test_the_page_is_current():
    """Where this fails, run `python -m tests.record` and commit what it wrote."""
    stale = [row.slug for row in catalogue() if row.tests and (row.tests.stale or not row.tests.date)]
    assert not stale, "their sources changed since their tests were recorded: run python -m tests.record"
    page = (record.ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert page == record.page(catalogue()), "run python -m tests.record"


TESTS = """
import pytest
import blockyard.kernels, blockyard.core.numbers
from blockyard.core.spec import Spec
@pytest.mark.parametrize("case", ["gla", "gla wide", "llama"])
def test_case(case): Spec.of("mixer", case, {}).hash
def test_wrong(): assert False
def test_left_out(): pytest.skip("no")
@pytest.mark.xfail
def test_known(): assert False
@pytest.mark.slow
def test_long(): pass
"""


def test_the_recorder_counts_what_it_sees(tmp_path):
    file = tmp_path / "test_some.py"
    file.write_text(TESTS)
    found = record.run_apart(str(file), [])
    assert found["counts"] == {"passed": 4, "failed": 2, "skipped": 1}
    assert "blockyard/core/spec.py" in found["sources"]  # a function of it was called
    assert not {"blockyard/core/numbers.py", "blockyard/kernels/conv/op.py"} & found["sources"].keys()  # only read
    assert record.run_apart(str(file), ["gla"])["counts"] == {"passed": 2, "failed": 0, "skipped": 0}


@pytest.mark.slow
def test_the_recorder_counts_a_file_that_breaks(tmp_path):
    file = tmp_path / "test_some.py"
    file.write_text("import no_such_module")
    assert record.run_apart(str(file), [])["counts"]["failed"] == 1
