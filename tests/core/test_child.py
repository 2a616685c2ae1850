"""Processes of ours import what is ours and installed, nothing beside the user's data; their talk is the answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blockyard.core import child

TRAPS = ("queue", "random", "json", "numpy", "torch", "blockyard", "signal")
CODE = """
from blockyard.compare.documents import BenchOrder
from blockyard.compare.run.pool import Pool
with Pool(1, 1) as pool:
    print(list(pool.run([BenchOrder([], 1)], print)))
"""


def traps(folder):
    """Modules that say that they were executed."""
    folder.mkdir(exist_ok=True)
    for name in TRAPS:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'sprung')!r}, 'a').write('{name} ')\n")
    return folder


def python(words, cwd, **env):
    done = subprocess.run(words, cwd=cwd, env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workers_execute_nothing_that_lies_beside_the_data(tmp_path):
    here = traps(tmp_path / "data")
    assert python([sys.executable, "-P", "-c", CODE], here) == "[(0, {'timings': []})]\n"
    assert not (here / "sprung").exists()


def test_the_module_executes_nothing_that_lies_beside_the_data(tmp_path):
    here = traps(tmp_path / "data")
    (here / "blockyard.py").unlink()  # the name that was asked for
    assert "gla" in python([sys.executable, "-m", "blockyard", "list"], here)
    assert not (here / "sprung").exists()


def test_contestants_of_a_bench_execute_nothing_that_lies_beside_the_data(tmp_path):
    here = traps(tmp_path / "data")
    code = (
        "from blockyard.bench.process import contestants\n"
        "with contestants({'one': ('measure:nothing', {})}, tell=print): pass"
    )
    said = python([sys.executable, "-P", "-c", code], here)
    assert "no attribute 'nothing'" in said and not (here / "sprung").exists()


@pytest.fixture
def echo(tmp_path):
    """A module on the user's PYTHONPATH that talks where a worker must not."""
    (tmp_path / "talker.py").write_text("import os\nprint('a greeting')\nos.system('echo another')\n")
    (tmp_path / "sitecustomize.py").write_text("print('the first word')\n")
    return tmp_path


def test_pythonpath_works_and_what_is_printed_is_no_answer(echo, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(echo), os.environ.get("PYTHONPATH", "")]))
    process = child.start("talker", threads=3)
    assert process.stdout.read() == b"" and process.wait() == 0
    said = capfd.readouterr()
    assert said.out == "" and {"the first word", "a greeting", "another"} <= set(said.err.splitlines())


def test_a_child_is_of_the_library_that_started_it(tmp_path, monkeypatch):
    (tmp_path / "blockyard").mkdir()
    (tmp_path / "blockyard" / "__init__.py").write_text("raise ImportError('another blockyard')")
    script = tmp_path / "answers.py"
    script.write_text(
        "import os, sys, blockyard\nfrom blockyard.core import child\n"
        "facts = {'words': sys.argv[1:-1], 'threads': os.environ['MKL_NUM_THREADS'], 'file': blockyard.__file__}\n"
        "child.serve(lambda order, tell: {'order': order, 'input': sys.stdin.read(), **facts})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = child.start("answers", "a", "b", threads=3)
    process.stdin.write(b'"given"\n')
    process.stdin.flush()
    told = json.loads(process.stdout.readline())
    file = str(Path(child.ROOT) / "__init__.py")
    assert told["done"] == {"order": "given", "words": ["a", "b"], "threads": "3", "file": file, "input": ""}
