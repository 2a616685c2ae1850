"""The prose of the project: its files, and the blocks of code in them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


class Block(NamedTuple):
    """A fenced block: its language, the line it begins at, its text."""

    language: str
    line: int
    text: str


def blocks(path, language):
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.S | re.M)
    every = [Block(m[1], text.count("\n", 0, m.start(2)) + 1, m[2]) for m in found]
    return [block for block in every if block.language == language]


def own_package(folder, part, recipe):
    """A package of somebody else's, as pip would leave it: a mixer and a recipe, named by entry points."""
    code, info = folder / "my_blocks", folder / "my_blocks-1.0.dist-info"
    code.mkdir()
    info.mkdir()
    (code / "__init__.py").write_text("")
    (code / "fading_average.py").write_text(part)
    (code / "recipe.py").write_text(recipe)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-blocks\nVersion: 1.0\n")
    named = "[blockyard.mixer]\nfading_average = my_blocks.fading_average\n"
    (info / "entry_points.txt").write_text(named + "[blockyard.recipe]\nfading_average = my_blocks.recipe\n")
