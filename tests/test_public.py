"""What is seen from outside: every public name, by `dir`, by completion and by type checkers."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import blockyard as by

ROOMS = ("blockyard", "blockyard.core", "blockyard.kernels", "blockyard.probe", "blockyard.task", "blockyard.data")
STUB = ast.parse(Path(by.__file__).with_suffix(".pyi").read_text())


def test_the_stub_says_what_there_is():
    homes = {n.names[0].asname: n.module for n in STUB.body if isinstance(n, ast.ImportFrom) and n.names[0].asname}
    assert homes == by._HOME
    declared = {n.target.id for n in STUB.body if isinstance(n, ast.AnnAssign)}
    assert {*homes, *declared} == {*by.__all__, "__version__"}


def test_dir_shows_the_public_names_alone():
    assert {name for name in dir(by) if not name.startswith("_")} == set(by.__all__)
    assert all(getattr(by, name) is not None for name in by.__all__)
    assert isinstance(by.compare, types.ModuleType) and callable(by.compare)
    with pytest.raises(AttributeError):
        by.nonsense  # noqa: B018


def revealed(folder, source):
    """What pyright says of every `reveal_type` of a stranger's file, and its complaints."""
    pytest.importorskip("pyright")
    (folder / "stranger.py").write_text(source)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "stranger.py"]
    environment = os.environ | {"PYTHONPATH": str(Path(by.__file__).parent.parent)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {done.stderr[:200]}")
    said = json.loads(done.stdout)["generalDiagnostics"]
    types_of = [re.fullmatch(r'Type of "(.+?)" is "(.+)"', d["message"], re.S) for d in said]
    return {m[1]: m[2] for m in types_of if m}, [d["message"] for d, m in zip(said, types_of) if not m]


def test_a_type_checker_knows_every_public_name(tmp_path):
    names = [f"{room}.{name}" for room in ROOMS for name in importlib.import_module(room).__all__]
    lines = [*(f"import {room}" for room in ROOMS), *(f"reveal_type({name})" for name in names)]
    lines += ['model = blockyard.build("llama")', 'found = blockyard.compare(["llama", "gla"])']
    lines += ["reveal_type(model)", "reveal_type(found)", "blockyard.nonsense"]
    known, complaints = revealed(tmp_path, "\n".join(lines))
    assert set(known) == {*names, "model", "found"}
    vague = {name: said for name, said in known.items() if re.search(r"^(Any|Unknown)$|-> (Any|Unknown)\b", said)}
    assert not vague
    assert (known["model"], known["found"]) == ("Model", "Report | Plan")
    assert len(complaints) == 1 and "nonsense" in complaints[0]
