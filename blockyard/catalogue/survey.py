"""The tables of surveys, folded from the tags in headers: every cell a name, *planned* or *out of scope: reason*.

    Tags  agent=imitation, data=offline        stands in the row `imitation`, in the column `offline`; data=any in all

A survey says the rows and the columns that it sorts by, in words, and why a cell is empty. A tag that it does not know,
a cell that nobody explains, and an excuse for a cell that is filled are mistakes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown

PLANNED, EVERYWHERE = "*planned*", "any"


@dataclass(frozen=True)
class Survey:
    """A table by two tags, or by one: rows and columns in words by the tag's value, and what empty cells say.

    empty   by (row, column), or by the row alone where all of it is empty
    """

    row: str
    rows: Mapping[str, str]
    column: str = ""
    columns: Mapping[str, str] = field(default_factory=lambda: {"": "here"})
    empty: Mapping[tuple[str, str] | str, str] = field(default_factory=dict)


def out_of_scope(reason: str) -> str:
    """What a cell says that stays empty."""
    return f"*out of scope: {reason}*"


_ACTS = out_of_scope("nothing here learns while it acts")
SURVEYS = {
    "rl-survey": Survey(
        "agent",
        {
            "entities": "encode a state of several things, or of patches",
            "recall": "encode the history of what was seen",
            "transition": "model what comes of an action",
            "credit": "share a late reward among earlier steps",
            "return-conditioned": "act for a promised return",
            "imitation": "act as others did",
            "in-context": "learn to act within an episode",
            "stabiliser": "keep training stable",
        },
        "data",
        {"offline": "from recorded episodes", "online": "while acting"},
        {
            "entities": out_of_scope("one sight a step"),
            ("transition", "offline"): PLANNED, ("transition", "online"): _ACTS,
            ("credit", "offline"): PLANNED, ("credit", "online"): _ACTS,
            ("return-conditioned", "online"): _ACTS, ("imitation", "online"): _ACTS, ("in-context", "online"): _ACTS,
        },
    ),
    "rl-survey worlds": Survey(
        "tests",
        {
            "memory": "remember what was seen long ago",
            "credit": "find a way, from episodes of mixed quality",
            "in-context": "find out while acting",
            "delay": "a late reward among distractions (key and door)",
        },
        empty={"delay": PLANNED},
    ),
}  # fmt: skip


def table(name: str) -> str:
    """A survey's table in Markdown."""
    if name not in SURVEYS:
        raise unknown("survey", name, SURVEYS)
    survey = SURVEYS[name]
    cells = _cells(survey)
    lines = [f"| {survey.row} | {' | '.join(survey.columns.values())} |", "| --- |" + " --- |" * len(survey.columns)]
    for row, words in survey.rows.items():
        lines.append(f"| {words} | {' | '.join(_cell(survey, cells, row, column) for column in survey.columns)} |")
    return "\n".join(lines)


def _cells(survey: Survey) -> dict[tuple[str, str], list[str]]:
    """The names in every cell."""
    found: dict[tuple[str, str], list[str]] = {}
    for kind in (*registry.KINDS, *registry.ROOMS):
        for entry in registry.entries(kind).values():
            if survey.row not in entry.tags or not entry.module.startswith("blockyard."):
                continue
            row, column = entry.tags[survey.row], entry.tags.get(survey.column, "")
            for value, known in ((row, survey.rows), (column, {**survey.columns, EVERYWHERE: ""})):
                if value not in known:
                    raise unknown(f"tag of {kind}:{entry.name}", value, known)
            for each in survey.columns if column == EVERYWHERE else [column]:
                found.setdefault((row, each), []).append(f"`{kind}:{entry.name}`")
    return found


def _cell(survey: Survey, cells: Mapping[tuple[str, str], list[str]], row: str, column: str) -> str:
    names, said = cells.get((row, column), []), survey.empty.get((row, column), survey.empty.get(row))
    if bool(names) == (said is not None):
        what = f"holds {', '.join(names)} and an excuse" if names else "is empty and nobody says why"
        raise UsageError(f"the cell of {row} and {column or 'all'} {what}")
    return ", ".join(names) or str(said)
