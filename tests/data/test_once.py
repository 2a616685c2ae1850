"""Standard input and pipes are read once, and kept for every process that needs them."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blockyard.compare.documents import Choice
from blockyard.compare.plan.dataset import named
from blockyard.core.errors import UsageError
from blockyard.data import load_text
from blockyard.data.once import keep

SMALL = ["--params", "30k", "--tokens", "1k", "--length", "32", "--batch", "4", "--seeds", "1", "--tuning", "none"]


def test_a_file_stays_what_it_is(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    assert keep(["a.txt", "none.jsonl:body", tmp_path], None) == [
        str(tmp_path / "a.txt"), str(tmp_path / "none.jsonl:body"), str(tmp_path)
    ]  # fmt: skip


def test_what_is_read_once_is_kept_by_its_content(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped \xff")))
    (first,) = keep(["-"], tmp_path)
    read, write = os.pipe()
    os.write(write, b"piped \xff")
    os.close(write)
    (second,) = keep([f"/dev/fd/{read}"], tmp_path)
    os.close(read)
    assert Path(first).read_bytes() == Path(second).read_bytes() == b"piped \xff"
    assert Path(first).parent == Path(second).parent and Path(first).name == "standard input"
    with open(tmp_path / "plain", "w+b") as file:
        file.write(b"of this process alone")
        file.flush()
        (third,) = keep([f"/dev/fd/{file.fileno()}"], tmp_path)
    assert third.startswith(str(tmp_path)) and Path(third).read_bytes() == b"of this process alone"


def test_without_a_place_to_keep_it_there_is_a_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for root in (None, tmp_path / "file"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
        with pytest.raises(UsageError, match="BLOCKYARD_CACHE"):
            keep(["-"], root)


PLAN = """
import json, sys
from blockyard.compare.plan.plan import Request, make_plan
print(json.dumps(make_plan(Request(("llama",), (sys.argv[1],), params="30k")).data.to_json()))
"""


@pytest.fixture
def text(tmp_path, words):
    path = tmp_path / "a.txt"
    path.write_text(words(20_000))
    return path


@pytest.mark.parametrize("source", [
    "<(gzip -c {})", *(pytest.param(source, marks=pytest.mark.slow) for source in ("- < {}", "/dev/stdin < {}")),
])  # fmt: skip
def test_a_plan_names_what_every_process_can_read(text, source):
    line = f'"$0" -c "$1" {source.format(text)}'
    done = subprocess.run(["bash", "-c", line, sys.executable, PLAN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert named(Choice(data["task"], data["paths"], data["codec"])).hash == data["hash"] == load_text(text).hash


@pytest.mark.slow
def test_a_comparison_of_standard_input(text, tmp_path):
    words = [
        sys.executable,
        "-m",
        "blockyard",
        "compare",
        "llama",
        "gla",
        "--data",
        "-",
        *SMALL,
        "--out",
        str(tmp_path / "o"),
    ]
    with open(text) as piped:
        subprocess.run(words, check=True, stdin=piped, stderr=subprocess.DEVNULL)
    assert json.loads((tmp_path / "o" / "result.json").read_text())["plan"]["data"]["name"] == "standard input"
