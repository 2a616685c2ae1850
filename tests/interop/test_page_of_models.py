"""The page on models in and out lists what can be read, and no more."""

import ast
from importlib import import_module
from pathlib import Path

from blockyard.interop import hf, llama_cpp
from blockyard.interop.folder import model_types
from blockyard.interop.ggml import families

PAGE = Path(__file__).parents[2] / "docs" / "models-in-and-out.md"


def table():
    """A line for every model type: its name, and the first sentence of its file."""
    lines = ["| `model_type` | what it is |", "| --- | --- |"]
    for name in model_types():
        first = (ast.get_docstring(ast.parse((Path(hf.__path__[0]) / f"{name}.py").read_text())) or "").splitlines()[0]
        lines.append(f"| `{name}` | {first} |")
    return "\n".join(lines)


def test_the_page_lists_what_is_read():
    assert table() in PAGE.read_text(), f"docs/models-in-and-out.md must show\n{table()}"


def test_the_page_lists_what_llama_cpp_runs():
    lines = PAGE.read_text().partition("| family | its architecture there |")[2].partition("\n\n")[0].splitlines()[2:]
    pairs = [line.split("|")[1:3] for line in lines]
    shown = {name.strip(" `"): arch.strip(" `") for a, b in pairs for name, arch in zip(a.split(","), b.split(","))}
    runs = {name: import_module(f"{llama_cpp.__name__}.{name}").RUNS.arch for name in families()}
    assert shown == runs
