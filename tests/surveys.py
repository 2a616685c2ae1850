"""The tables of surveys in the pages of docs/, written from the tags in headers: `python -m tests.surveys`."""

import re
from pathlib import Path

from blockyard.catalogue.survey import table

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"(<!-- survey (.+?) -->\n\n).*?(\n\n<!-- end -->)", re.S)


def written(text: str) -> str:
    """A page with its tables as they are now."""
    return BLOCK.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


def pages() -> list[Path]:
    """The pages that hold such tables."""
    return [path for path in sorted(DOCS.glob("*.md")) if BLOCK.search(path.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    for path in pages():
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
