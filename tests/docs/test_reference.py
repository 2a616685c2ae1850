"""The references are those of the code: commands as the grammar says them, every public name on its page."""

import re

from pages import ROOT

from tests import commands
from tests.test_public import ROOMS

API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_page_of_commands_is_the_grammar():
    written = commands.PAGE.read_text(encoding="utf-8")
    assert written == commands.page(), "python -m tests.commands writes it anew"


def test_every_room_with_public_names_is_in_the_reference():
    assert re.findall(r"^\.\. automodule:: (\S+)$", API, re.M) == sorted(ROOMS, key=API.find)
