"""How Sphinx builds these pages: `python -m sphinx -W -b html docs build/docs`."""

import re
from itertools import groupby
from typing import Any

import blockyard
from blockyard import kernels
from blockyard.kernels.dispatch import Op

project = "blockyard"
author = "the blockyard contributors"
copyright = author
release = version = blockyard.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "templates"]
html_theme = "furo"
html_title = "blockyard"
myst_heading_anchors = 2
python_maximum_signature_line_length = 88
autodoc_default_options = {"members": True, "imported-members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
OPERATIONS = ".. autofunction:: blockyard.kernels.*"
MARKUP = re.compile(r"([\\*|]|_\b)")  # what would be markup in a docstring, which is plain text


def as_markup(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: prose stays prose, and what is laid out in columns or indented stays as it is."""
    found: list[str] = []
    for empty, block in groupby(lines, key=lambda line: not line.strip()):
        block = list(block)
        if empty:
            found.append("")
        elif any(re.search(r"^ |\S {2,}\S", line) for line in block):
            found += ["::", "", *("   " + line for line in block)]
        else:
            pieces = re.split(r"`([^`]*)`", "\n".join(block))
            said = (f"``{piece.strip()}``" if i % 2 else MARKUP.sub(r"\\\1", piece) for i, piece in enumerate(pieces))
            found += "".join(said).split("\n")
    lines[:] = [*found, ""]


def with_operations(app: Any, name: str, text: list[str]) -> None:
    """`blockyard.kernels.*` stands for every operation: autodoc takes an object that can be called for data."""
    ops = (name for name in kernels.__all__ if isinstance(getattr(kernels, name), Op))
    text[0] = text[0].replace(OPERATIONS, "\n".join(OPERATIONS.replace("*", name) for name in ops))


def setup(app: Any) -> None:
    """A name stands where it is shown first; fields of named tuples explain nothing by themselves."""
    shown: dict[int, str] = {}

    def shown_before(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
        if str(getattr(thing, "__doc__", "")).startswith("Alias for field"):
            return True
        room = app.env.temp_data.get("autodoc:module") if what == "module" else ""
        return True if what == "module" and shown.setdefault(id(thing), room) != room else None

    app.connect("source-read", with_operations)
    app.connect("autodoc-process-docstring", as_markup)
    app.connect("autodoc-skip-member", shown_before)
