"""Names that look like something else: brackets, colons, bytes that are no text. They are printed as they are."""

import json
import os
from dataclasses import replace

import pytest
from test_report import CASES

from blockyard.compare.documents import Report
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.compare.report import result as results
from blockyard.compare.run.progress import Watch
from blockyard.data import load_text

NAMES = ["notes [draft].txt", "c[/]d", "[bold]x[/bold]", "a:smile:b", "[red]", "x\\[y]", "caf\udce9.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_progress_says_names_as_they_are(name, capsys):
    watch = Watch()
    watch.say(f"  final {name} seed 1")
    watch.start(10.0)
    watch.finished(0, 1.0, name)
    watch.stop()
    shown = name.replace("\udce9", r"\udce9")
    assert capsys.readouterr().err.splitlines()[:2] == [f"  final {shown} seed 1", shown]


def test_a_file_whose_name_is_no_text_is_compared_to_the_end(tmp_path, monkeypatch):
    path = tmp_path / os.fsdecode(b"caf\xe9 [draft].txt")
    path.write_text("".join(f"line {n * n} of a text\n" for n in range(300)))
    data = make_plan(Request(("llama",), (str(path),), params="30k"), lambda _: None).data
    assert load_text(json.loads(json.dumps(data.to_json()))["paths"]).hash == data.hash
    report = Report.from_json(CASES["one seed"], "a report")
    report = replace(report, plan=replace(report.plan, data=replace(data, paths=[])))
    written = {}
    monkeypatch.setattr(results, "write_whole", lambda path, content: written.update({path.name: content}))
    results.write(report, tmp_path / os.fsdecode(b"o\xff"))
    assert set(written) == {"result.json", "report.txt", "report.html", "runs.csv"}
    assert rb"caf\udce9 [draft].txt" in written["report.txt"] and rb"caf\udce9 [draft].txt" in written["report.html"]
