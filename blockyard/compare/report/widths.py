"""The picture of a coordinate check: how far the numbers of each place moved, by width, on a page of its own."""

from blockyard.compare.report.figures import Canvas, line, mark, scale
from blockyard.compare.report.sheet import Picture, Sheet
from blockyard.train.coordinates import FLAT, Coordinates


def widths_page(name: str, found: Coordinates) -> str:
    """A page with the picture, in the style of the report; it needs no network."""
    about = (
        "How far numbers inside move in the first steps, at one rate for all widths. Lines that lie flat carry a rate "
        "over from a narrow model to a wide one."
    )
    picture = Picture("widths", "Movement against width", "A line for every place.", widths_picture(found))
    return Sheet(f"Coordinate check of {name}", about, [picture]).html()


def widths_picture(found: Coordinates) -> str:
    """A line for every place, on two logarithmic axes."""
    canvas = Canvas("widths", "Movement against width", "Mean movement of each place by width.", 640, 366,
                    (52, 44, 470, 316))  # fmt: skip
    left, top, right, bottom = canvas.frame
    x = scale(found.widths, left, right, log=True, pad=0.04)
    y = scale([value for values in found.moved.values() for value in values], bottom, top, log=True, pad=0.1)
    canvas.axis_y(y, "mean size of the movement (log scale)")
    canvas.axis_x(x, "width (log scale)", found.widths, form=lambda n: f"{n:,.0f}")
    ends = []
    for index, (place, values) in enumerate(found.moved.items()):
        spots = [(x(width), y(value)) for width, value in zip(found.widths, values)]
        titles = [f"{place} at {width}: {value:.3g}" for width, value in zip(found.widths, values)]
        marks = [mark(index, *spot, 4.5, title=title) for spot, title in zip(spots, titles)]
        canvas.arm(index, line(spots, "thick"), *marks)
        ends.append((index, f"{place} {found.slopes[place]:+.2f}", *spots[-1]))
    canvas.labels(ends)
    canvas.notes([f"Behind each name the slope; within {FLAT:g} of 0 a rate carries over."])
    return canvas.svg()
