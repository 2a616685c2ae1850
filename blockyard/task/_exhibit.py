"""What a person who has such data looks at beside the score: forecasts drawn, confusions counted, the worst images.

An exhibit is a small document that a run leaves and a page draws; what is in it, its full fields say.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """A line over x; `low` and `high` are a band around it, where there is one. A gap is None."""

    name: str
    x: list[float]
    y: list[float | None]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A small image: (H,W) of grey, or (H,W,3) of red, green and blue, flat and from 0 to 255, with a caption."""

    height: int
    width: int
    pixels: list[int]
    caption: str


@dataclass(frozen=True)
class Exhibit:
    """One thing to look at.

    title    what it is        x, y    what the axes are, with units
    lines    drawn together over x
    labels, counts    a table of counts: what is true by row, what was said by column
    pictures, texts   shown side by side, or one below the other
    """

    title: str
    x: str = ""
    y: str = ""
    lines: list[Line] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    counts: list[list[int]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
