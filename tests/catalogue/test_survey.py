"""The tables of surveys: a cell is a name, planned or out of scope, and the pages show what the headers say."""

from dataclasses import replace

import pytest

from blockyard.catalogue import survey
from blockyard.catalogue.survey import SURVEYS, table
from blockyard.core import UsageError, registry
from tests import surveys


@pytest.mark.parametrize("name", SURVEYS)
def test_every_cell_is_filled(name):
    head, _, *lines = table(name).splitlines()
    assert len(lines) == len(SURVEYS[name].rows) and len({line.count("|") for line in [head, *lines]}) == 1
    for cell in (cell.strip() for line in lines for cell in line.strip("|").split("|")[1:]):
        if cell != "*planned*" and not cell.startswith("*out of scope: "):
            assert all(registry.find(*word.strip("` ").split(":")) for word in cell.split(","))


def test_pages_show_what_the_headers_say():
    found = surveys.pages()
    assert found
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert text == surveys.written(text), "python -m tests.surveys writes it anew"


def test_what_nobody_explains_is_a_mistake(monkeypatch):
    """A cell without a name or an excuse, an excuse beside a name, a tag that the survey does not know."""
    right = SURVEYS["rl-survey"]
    wrong = {
        "nobody says why": replace(right, rows={**right.rows, "planner": "plan"}),
        "and an excuse": replace(right, empty={**right.empty, "recall": "*planned*"}),
        "unknown tag of": replace(right, rows={row: words for row, words in right.rows.items() if row != "imitation"}),
    }
    for says, each in wrong.items():
        monkeypatch.setitem(survey.SURVEYS, "rl-survey", each)
        with pytest.raises(UsageError, match=says):
            table("rl-survey")
    with pytest.raises(UsageError, match="rl-survey"):
        table("rl-survei")
