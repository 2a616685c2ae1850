"""Compiled loops are found again by what they say, from any copy of the library, and by nobody else."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import blockyard

kept = pytest.importorskip("blockyard.kernels.toolkit.kept")

LOOK = """
import numpy as np
from blockyard.kernels.toolkit import compile, kept
loop = compile.aligned_zeros
assert loop(5, np.zeros(1, np.float32)).shape == (5,)
print(len(loop.stats.cache_hits), kept.folder())
"""


def look(tree, **env):
    env = {**os.environ, "PYTHONPATH": str(tree), **env}
    done = subprocess.run([sys.executable, "-P", "-c", LOOK], env=env, capture_output=True, text=True, cwd=tree)
    assert done.returncode == 0, done.stderr
    hits, place = done.stdout.split(maxsplit=1)
    return int(hits), Path(place.strip()) if place.strip() != "None" else None


@pytest.fixture
def copy(tmp_path):
    tree = tmp_path / "copy"
    for name in ("core", "kernels"):
        shutil.copytree(
            Path(blockyard.__file__).parent / name,
            tree / "blockyard" / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    (tree / "blockyard" / "__init__.py").write_text("")
    return tree


def test_a_copy_finds_what_another_compiled_until_a_loop_changes(copy, tmp_path):
    other, where = tmp_path / "other", str(tmp_path / "loops")
    shutil.copytree(copy, other)
    for path in other.rglob("*.py"):
        os.utime(path, (1, 1))
    hits, place = look(copy, NUMBA_CACHE_DIR=where)
    assert hits == 0 and place is not None and where in str(place)
    assert look(other, NUMBA_CACHE_DIR=where) == (1, place)
    callee = other / "blockyard/kernels/decayed/cpu.py"  # not the file of the loop that is looked for
    callee.write_text(callee.read_text() + "\n")
    hits, elsewhere = look(other, NUMBA_CACHE_DIR=where)
    assert hits == 0 and elsewhere != place
    assert look(copy, NUMBA_CACHE_DIR=where) == (1, place)
    assert not list(copy.rglob("*.nbi"))


def test_where_nothing_can_be_written_loops_are_compiled_all_the_same(copy, tmp_path):
    (tmp_path / "file").write_text("")
    assert look(copy, NUMBA_CACHE_DIR=str(tmp_path / "file" / "below")) == (0, None)


def test_the_cache_of_the_library_is_the_usual_place(copy, tmp_path):
    env = {"NUMBA_CACHE_DIR": "", "BLOCKYARD_CACHE": str(tmp_path / "mine")}
    _, place = look(copy, **env)
    assert place is not None and place.parent == tmp_path / "mine" / "kernels"


def test_what_nobody_opened_for_long_goes_and_nothing_else(tmp_path):
    names = ["a" * 32, "b" * 32, "c" * 31]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ("d" * 32)).write_text("a file")
    for name in (names[0], names[2]):
        os.utime(tmp_path / name, (1, 1))
    kept.forget(tmp_path, time.time() - 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[1], names[2], "d" * 32]


def test_loops_kept_by_another_version_are_compiled_anew():
    def stale():
        raise AttributeError("a structure that is gone")

    assert kept._readable(stale)() == {} and kept._readable(lambda: {"kept": 1})() == {"kept": 1}


def test_what_is_damaged_on_disk_is_compiled_again(copy, tmp_path):
    where = str(tmp_path / "loops")
    _, place = look(copy, NUMBA_CACHE_DIR=where)
    damaged = list(place.rglob("*.nbc"))
    for path in damaged:
        path.write_bytes(path.read_bytes()[:3])
    assert damaged and look(copy, NUMBA_CACHE_DIR=where) == (0, place)
    assert look(copy, NUMBA_CACHE_DIR=where) == (1, place)  # it was written over


def test_what_another_process_removes_meanwhile_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / ("a" * 32)).mkdir()
    monkeypatch.setattr(Path, "is_dir", lambda self: self.rmdir() or True)  # there when it was listed
    kept.forget(tmp_path, time.time() + 100)
    assert not list(tmp_path.iterdir())
