"""The table of runs in any database: the rows of the comparisons' own, once each, whole or not at all."""

import csv
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import blockyard as by
from blockyard.cli import main
from blockyard.compare.kept import RUNS, indexed, runs
from blockyard.compare.run import index as table
from blockyard.compare.run.index import Event, Index
from blockyard.core.errors import UsageError

SMALL = ["--params", "40k", "--tokens", "2k", "--length", "32", "--batch", "4", "--seeds", "2", "--tuning", "none"]
PLAN = SimpleNamespace(arms=[SimpleNamespace(id="1-0", label="it's")], bases=[])


def event(key, score=1.5, status="finished"):
    return Event(key, "1-0", "final", 0, 1e-3, status, score, 2.5)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The URL of a server of our own, on a free port of this machine."""
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip("no PostgreSQL")
    pytest.importorskip("psycopg")
    folder = tmp_path_factory.mktemp("postgres")
    user = {}
    if os.geteuid() == 0:  # which it refuses to run as
        import pwd

        other = pwd.getpwnam("postgres" if "postgres" in {each.pw_name for each in pwd.getpwall()} else "nobody")
        user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
        os.chown(folder, other.pw_uid, other.pw_gid)
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    made = ["initdb", "-D", data, "-U", "me", "--auth=trust", "--no-sync", "--locale=C", "-E", "UTF8"]
    subprocess.run(made, check=True, capture_output=True, cwd="/", **user)
    serve = ["postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", data, "-F"]
    server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **user)
    url, until = f"postgresql+psycopg://me:secret@127.0.0.1:{port}/postgres", time.monotonic() + 30
    while True:
        try:
            Index(url)
            break
        except UsageError:
            assert time.monotonic() < until and server.poll() is None
            time.sleep(0.2)
    yield url
    server.send_signal(signal.SIGINT)
    server.wait(20)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def url(request, tmp_path):
    pytest.importorskip("sqlalchemy")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    found = request.getfixturevalue("postgres")
    made = Index(found)
    with made.engine.begin() as server:
        server.execute(made.table.delete())
    return found


def test_a_row_stands_once_for_a_folder_and_a_key(url, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    made = Index(url)
    made.write(first, PLAN, [event("a", 2.0), event("b", float("nan"), "failed")])
    made.write(second, PLAN, [event("a", 3.0)])
    Index(url).write(first, PLAN, [event("a", 4.0), event("c")])  # another process, later
    found = {(row["comparison"], row["key"]): (row["score"], row["label"], row["status"]) for row in made.rows()}
    assert found == {
        ("first", "a"): (4.0, "it's", "finished"), ("first", "b"): (None, "it's", "failed"),
        ("first", "c"): (1.5, "it's", "finished"), ("second", "a"): (3.0, "it's", "finished"),
    }  # fmt: skip
    assert {row["folder"] for row in made.rows()} == {str(first.resolve()), str(second.resolve())}


def test_rows_are_written_all_or_none(url, tmp_path):
    made = Index(url)
    made.write(tmp_path / "a", PLAN, [event("a", 1.0)])
    with pytest.raises(made.failures):
        made.write(tmp_path / "a", PLAN, [event("a", 2.0), event("b"), event("b")])  # no key twice
    assert [(row["key"], row["score"]) for row in made.rows()] == [("a", 1.0)]


HOLD = """
import sys, os, signal
from types import SimpleNamespace
from pathlib import Path
from sqlalchemy import event as listen
from blockyard.compare.run.index import Event, Index
made, folder = Index(sys.argv[1]), Path(sys.argv[2])
seen = []
@listen.listens_for(made.engine, "after_cursor_execute")
def die(*_):
    seen.append(1)
    if len(seen) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
plan = SimpleNamespace(arms=[], bases=[])
made.write(folder, plan, [Event(k, "x", "final", 0, 1.0, "finished", 9.0, 1.0) for k in "ab"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("statement", [1, 2])
def test_a_kill_between_two_statements_leaves_no_half(url, tmp_path, statement):
    """Behind the delete, and behind the insert that is not yet committed."""
    made = Index(url)
    made.write(tmp_path / "a", PLAN, [event("a", 1.0)])
    killed = subprocess.run([sys.executable, "-P", "-c", HOLD, url, str(tmp_path / "a"), str(statement)])
    assert killed.returncode == -signal.SIGKILL
    assert [(row["key"], row["score"]) for row in made.rows()] == [("a", 1.0)]
    made.write(tmp_path / "a", PLAN, [event("a", 9.0), event("b", 9.0)])
    assert [row["score"] for row in made.rows()] == [9.0, 9.0]


@pytest.mark.slow
def test_comparisons_share_a_table_and_list_what_their_own_say(url, tmp_path, text, capsys):
    for name, arms in (("one", ["a=llama", "b=gla"]), ("two", ["llama", "gpt2"])):
        command = ["compare", *arms, "--data", text, *SMALL, "--out", str(tmp_path / name), "--index", url]
        assert main(command) == 0
    assert main(command) == 0  # again: nothing is done, and nothing stands twice
    rows = indexed(url)
    assert len(rows) == 8 and {row["comparison"] for row in rows} == {"one", "two"}
    for name in ("one", "two"):
        mine = sorted((tuple(row[k] for k in RUNS[:-1]) for row in rows if row["comparison"] == name), key=str)
        assert mine == sorted((tuple(row[k] for k in RUNS[:-1]) for row in runs(tmp_path / name)), key=str)
        with sqlite3.connect(tmp_path / name / "index.sqlite") as own:
            scores = own.execute("select key, score from run order by key").fetchall()
        made = sorted((r["key"], r["score"]) for r in Index(url).rows() if r["comparison"] == name)
        assert made == scores
    assert all((Path(row["folder"]) / "result.json").exists() for row in rows)
    capsys.readouterr()
    assert main(["runs", "--index", url, "--json", "--csv", str(tmp_path / "all.csv")]) == 0
    assert json.loads(capsys.readouterr().out) == rows
    with open(tmp_path / "all.csv") as file:
        assert [(row["comparison"], row["arm"]) for row in csv.DictReader(file)] == [
            (row["comparison"], row["arm"]) for row in rows
        ]


def test_a_table_that_is_lost_does_not_stop_a_comparison_and_is_filled_later(tmp_path, text, monkeypatch, capsys):
    pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{tmp_path}/runs.db"
    write, calls = Index.write, []

    def fails(self, *told):
        calls.append(told)
        raise OSError("the server went away")

    monkeypatch.setattr(Index, "write", fails)
    ask = dict(data=text, out=tmp_path / "out", params="40k", tokens="1k", length=32, batch=4, seeds=2, tuning="none")
    first = by.compare(["llama", "gpt2"], index=url, **ask)
    said = capsys.readouterr().err
    assert len(calls) > 2 and said.count("was not written: the server went away") == 1
    monkeypatch.setattr(Index, "write", write)
    assert not indexed(url)
    again = by.compare(["llama", "gpt2"], index=url, **ask)
    assert len(indexed(url)) == 4 and again.pairs == first.pairs


def test_what_is_no_database_is_refused_in_a_line_without_its_password(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sqlalchemy")
    for url, says in (
        ("nonsense", "is no URL of a database"),
        ("nodb://me:secret@host/x", "nodb is no database that is known"),
        (f"sqlite:///{tmp_path}/none/runs.db", "unable to open database file"),
        ("oracle+oracledb://me:secret@host/x", "pip install oracledb"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "psycopg"),
    ):
        for verb in (["compare", "llama", "gla"], ["runs"]):
            assert main([*verb, "--index", url]) == 2
            said = capsys.readouterr().err
            assert len(said.splitlines()) == 1 and "secret" not in said
            assert says in said or "refused" in said, said
    assert main(["runs"]) == 2 and "name the folder of a comparison, or a database" in capsys.readouterr().err
    monkeypatch.setattr(table, "find_spec", lambda name: None)
    assert main(["runs", "--index", "sqlite:///x"]) == 2
    assert "pip install 'blockyard[database]'" in capsys.readouterr().err
