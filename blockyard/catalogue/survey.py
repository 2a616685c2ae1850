"""What a survey sorts, as a table: on each of its axes who carries a value as a tag, or why nobody does.

The study of a survey says its axes and what it sorts, the recipes of a family, in constants of its file:

    sorts = "series"
    axes = {"levels": {"flat": "", "hierarchical": "planned: gpht"}}

A cell is the names whose headers have the tag. Where there are none it is what the study says of that value: `planned:`
and a slug of the index, or `out of scope:` and the reason. Each recipe that is sorted has one value on every axis.
"""

from collections.abc import Mapping
from typing import NamedTuple

from blockyard.catalogue.index import systems
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.registry import Entry

PLANNED, OUTSIDE = "planned: ", "out of scope: "


class Cell(NamedTuple):
    """A value of an axis: the names that carry it (of a recipe the bare one), or what is said in their place."""

    axis: str
    value: str
    names: tuple[str, ...]
    note: str

    @property
    def text(self) -> str:
        """As the table has it."""
        return ", ".join(f"`{name}`" for name in self.names) or self.note


def surveys() -> list[Entry]:
    """The studies that have axes."""
    found = registry.entries("study").values()
    return [entry for entry in found if "\naxes = " in entry.path.read_text(encoding="utf-8")]


def cells(study: Entry) -> list[Cell]:
    """Every cell of a survey; refused: one that says nothing, and what is sorted by half."""
    axes: Mapping[str, Mapping[str, str]] = study.constant("axes")
    everything = [entry for kind in (*registry.KINDS, *registry.ROOMS) for entry in registry.entries(kind).values()]
    everything = [entry for entry in everything if entry.kind == "recipe" or _may_have_tags(entry)]
    for entry in everything:
        wanted = entry.kind == "recipe" and entry.header.get("Family") == study.constant("sorts")
        _check(entry, axes, wanted and entry.module.startswith("blockyard."))
    found = []
    for axis, values in axes.items():
        for value, note in values.items():
            names = tuple(_name(entry) for entry in everything if entry.tags.get(axis) == value)
            found.append(Cell(axis, value, names, "" if names else _reason(f"{axis}={value}", note)))
    return found


def _may_have_tags(entry: Entry) -> bool:
    """Whether the word stands in its file at all; to read every file's syntax takes a second."""
    return "Tags  " in entry.path.read_text(encoding="utf-8")


def _check(entry: Entry, axes: Mapping[str, Mapping[str, str]], wanted: bool) -> None:
    for axis, values in axes.items():
        value = entry.tags.get(axis)
        if value is None and wanted:
            raise UsageError(f"{_name(entry)} has no tag {axis}= in its header: {', '.join(values)}")
        if value is not None and value not in values:
            raise UsageError(f"{_name(entry)}: {axis}={value} is none of {', '.join(values)}")


def _reason(tag: str, note: str) -> str:
    """What is said where nobody carries a tag."""
    slugs = {line["slug"] for line in systems()}
    if not (note.startswith(OUTSIDE) and note != OUTSIDE) and note.removeprefix(PLANNED) not in slugs:
        raise UsageError(f"nobody carries {tag}, and {note!r} is neither '{PLANNED}SLUG' nor '{OUTSIDE}REASON'")
    if note.startswith(PLANNED) and registry.entries("recipe").get(note.removeprefix(PLANNED).replace("-", "_")):
        raise UsageError(f"the recipe {note.removeprefix(PLANNED)} is there, and its header does not say {tag}")
    return note


def _name(entry: Entry) -> str:
    return entry.name if entry.kind == "recipe" else f"{entry.kind}:{entry.name}"


def page() -> str:
    """docs/surveys.md: a table for every survey."""
    titles = {line["slug"]: f"{line['title']} ({line['year']})" for line in systems()}
    lines = [
        "# What surveys sort",
        "",
        "The axes by which published surveys sort systems, and what carries each value here, by the tags of headers.",
        "`blockyard list recipe --tag levels=flat` lists the recipes that have a tag.",
    ]
    for study in surveys():
        lines += ["", f"## {titles[study.header['Slug']]}", "", "| axis | value | here |", "| --- | --- | --- |"]
        lines += [f"| {cell.axis} | {cell.value} | {cell.text} |" for cell in cells(study)]
    return "\n".join(lines) + "\n"
