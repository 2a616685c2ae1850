"""The page on models in and out lists what can be read, and no more."""

import ast
from pathlib import Path

from blockyard.interop import hf
from blockyard.interop.folder import model_types

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
