"""What is seen from outside: every public name, by `dir`, by completion and by type checkers."""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import types
from functools import cached_property
from pathlib import Path

import pytest

import blockyard as by
from blockyard.compare.compare import compare
from blockyard.core import registry

ROOMS = [  # the packages whose first page names what is public
    f"blockyard.{path.parent.name}".removesuffix(".blockyard")
    for path in (Path(by.__file__), *sorted(Path(by.__file__).parent.glob("*/__init__.py")))
    if "__all__" in path.read_text()
]
STUB = ast.parse(Path(by.__file__).with_suffix(".pyi").read_text())

META = "__metadata__"  # of Annotated[type, "meaning"]


def test_the_stub_says_what_there_is():
    homes = {n.names[0].asname: n.module for n in STUB.body if isinstance(n, ast.ImportFrom) and n.names[0].asname}
    assert homes == by._HOME | {"referee": "blockyard"}
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
    lines += ['plan = blockyard.compare(["llama", "gla"], dry_run=True)']
    lines += ['either = blockyard.compare(["llama", "gla"], dry_run=len("?") > 0)']
    lines += [*(f"reveal_type({name})" for name in ("model", "found", "plan", "either")), "blockyard.nonsense"]
    known, complaints = revealed(tmp_path, "\n".join(lines))
    answers = {"model": "Model", "found": "Report", "plan": "Plan", "either": "Report | Plan"}
    assert set(known) == {*names, *answers}
    vague = {name: said for name, said in known.items() if re.search(r"^(Any|Unknown)$|-> (Any|Unknown)\b", said)}
    assert not vague
    assert {name: known[name] for name in answers} == answers
    assert len(complaints) == 1 and "nonsense" in complaints[0]


def documented(thing, name):
    """Whether somebody wrote what this is for; what dataclasses and named tuples say of themselves is no word."""
    doc = vars(thing).get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", None)
    return bool(doc) and not doc.startswith(f"{name}(")


def undocumented(name, thing):
    """A public name without a docstring, and its methods that no class of ours in its line explains."""
    if not documented(thing, name.rpartition(".")[2]):
        yield name
    if inspect.isclass(thing):
        ours = [base for base in thing.__mro__ if base.__module__.split(".")[0] == thing.__module__.split(".")[0]]
        for key in (key for key in vars(thing) if not key.startswith("_")):
            every = [vars(base)[key] for base in ours if key in vars(base)]
            every = [getattr(found, "__func__", found) for found in every]
            if any(inspect.isfunction(f) or isinstance(f, (property, cached_property)) for f in every) and not any(
                documented(found, key) for found in every
            ):
                yield f"{name}.{key}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_says_what_it_is_for(room):
    public = [(name, getattr(importlib.import_module(room), name)) for name in importlib.import_module(room).__all__]
    assert not [bare for name, thing in public if callable(thing) for bare in undocumented(name, thing)]


def test_an_undocumented_name_is_caught():
    class Bare:
        def method(self):
            pass

    class Told(Bare):
        """Told."""

    assert list(undocumented("Bare", Bare)) == ["Bare", "Bare.method"] and not list(undocumented("Told", Told))
    assert list(undocumented("test", lambda: 0)) == ["test"]


def test_a_comparison_is_typed_as_it_is_defined():
    """What type checkers read of `blockyard.compare` has the arguments and defaults of the function that runs."""
    tree = ast.parse((Path(by.__file__).parent / "compare" / "__init__.py").read_text())
    typed = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.decorator_list]
    assert [ast.unparse(node.returns) for node in typed] == ["Report", "Plan", "Report | Plan"]
    real = inspect.signature(compare).parameters
    for node in typed:
        names = [a.arg for a in (*node.args.args[1:], *node.args.kwonlyargs, node.args.kwarg)]
        assert names == list(real)
        for a, default in zip(node.args.kwonlyargs, node.args.kw_defaults):
            if a.arg != "dry_run":
                assert ast.literal_eval(default) == real[a.arg].default, a.arg


def test_every_setting_says_what_it_means():
    for kind in (*registry.KINDS, *registry.ROOMS):
        for entry in registry.entries(kind).values():
            assert all(s.meaning and s.accepts for s in entry.settings.values()), f"{kind}:{entry.name}"


def test_what_one_file_takes_from_another_says_what_it_is_for():
    """The header of a file that is one named thing is the docstring of that."""
    trees = {path: ast.parse(path.read_text()) for path in registry.ROOT.rglob("*.py")}
    taken = {
        (node.module, alias.name)
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    named = {entry.path for kind in (*registry.KINDS, *registry.ROOMS) for entry in registry.entries(kind).values()}
    bare = [
        f"{module}.{node.name}"
        for path, tree in trees.items()
        for module in [".".join(("blockyard", *path.relative_to(registry.ROOT).with_suffix("").parts))]
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_") and path not in named
        if (module, node.name) in taken and not ast.get_docstring(node)
    ]
    assert not bare, "\n".join(bare)


def test_the_top_level_explains_every_argument():
    things = {name: getattr(by, name) for name in by.__all__}
    rooms = {"compare": compare, **{name: getattr(by.referee, name) for name in ("init", "attempt", "show")}}
    for name, thing in {**things, **rooms}.items():
        if isinstance(thing, types.ModuleType):
            continue
        if not (inspect.isclass(thing) and issubclass(thing, Exception)):
            given, doc = inspect.signature(thing).parameters, inspect.getdoc(thing) or ""
            told = {one for one, is_ in given.items() if re.search(rf"\b{one}\b", doc) or hasattr(is_.annotation, META)}
            assert given.keys() - told <= {"model"}, name
