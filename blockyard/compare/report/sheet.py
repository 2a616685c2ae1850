"""Pictures on their own: a page of a few of them in the style of the report, and a file that holds just one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from pathlib import Path

WIDE = 560  # pixels of a picture that a narrow page can hold
PADDING = 12  # pixels around a picture that stands alone
META = (
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark">'
)


@dataclass(frozen=True)
class Picture:
    """A drawing with its heading and what there is to say of it; `name` is that of its file."""

    name: str
    title: str
    about: str
    svg: str


@dataclass(frozen=True)
class Table:
    """Rows of words under a head, the first column naming the row; `marks` are markup before these names."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = "Figures"
    about: str = ""
    marks: Sequence[str] = ()

    def markdown(self) -> str:
        """The table as Markdown; figures stand to the right."""
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in (self.head, rule, *self.rows))

    def html(self) -> str:
        """The table as markup of the page's style."""
        head = "".join(
            f'<th scope="col"{"" if i else " class=left"}>{escape(each)}</th>' for i, each in enumerate(self.head)
        )
        rows = "".join(
            f'<tr><th scope="row">{mark}{escape(first)}</th>{"".join(f"<td>{escape(c)}</td>" for c in cells)}</tr>'
            for mark, (first, *cells) in zip(self.marks or [""] * len(self.rows), self.rows)
        )
        box = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(self.title)}">'
        return f"{box}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


@dataclass(frozen=True)
class Sheet:
    """A page: what it asks, its pictures, and the figures behind them; more `tables` have headings of their own."""

    title: str
    about: str
    pictures: Sequence[Picture]
    table: Table | None = None
    notes: Sequence[str] = field(default_factory=tuple)
    tables: Sequence[Table] = ()

    def html(self) -> str:
        """The page; it needs no network."""
        head = f"{META}<title>{escape(self.title)}</title><style>{style()}</style>"
        found = [f"<header><h1>{escape(self.title)}</h1><p class=lede>{escape(self.about)}</p></header>"]
        found += [
            f"<section><h2>{escape(each.title)}</h2><p class=about>{escape(each.about)}</p>"
            f"<figure {_box(each)}>{each.svg}</figure></section>"
            for each in self.pictures
        ]
        for each in (*([self.table] if self.table else []), *self.tables):
            about = f"<p class=about>{escape(each.about)}</p>" if each.about else ""
            found.append(f"<section><h2>{escape(each.title)}</h2>{about}{each.html()}</section>")
        if self.notes:
            found.append(f"<ul class=notes>{''.join(f'<li>{escape(note)}</li>' for note in self.notes)}</ul>")
        return f'<!doctype html><html lang="en"><head>{head}</head><body><main>{"".join(found)}</main></body></html>\n'


def alone(svg: str) -> str:
    """A picture as a file of its own, on paper of its own, light or dark as whoever looks at it prefers."""
    width, height = _size(svg)
    box = -PADDING, -PADDING, width + 2 * PADDING, height + 2 * PADDING
    view = " ".join(f"{each:g}" for each in box)
    inner = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
    paper = f'<rect x="{box[0]:g}" y="{box[1]:g}" width="{box[2]:g}" height="{box[3]:g}" fill="var(--paper)"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" width="{box[2]:g}" height="{box[3]:g}">'
        f"<style>{escape(style(), quote=False)}</style>{paper}{inner}</svg>\n"
    )


def _size(svg: str) -> tuple[float, float]:
    """Width and height of a picture."""
    start = svg.index('viewBox="') + len('viewBox="')
    _, _, width, height = map(float, svg[start : svg.index('"', start)].split())
    return width, height


def _box(picture: Picture) -> str:
    """What holds a picture: one that is too wide to be read on a narrow page scrolls there."""
    if 'viewBox="' not in picture.svg or _size(picture.svg)[0] <= WIDE:
        return 'class="panel"'
    return f'class="panel scroll" tabindex="0" role="region" aria-label="{escape(picture.title)}"'


@lru_cache(maxsize=1)
def style() -> str:
    """The style sheet of the report, which other pages share."""
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return page[page.index("<style>") + len("<style>") : page.index("</style>")]
