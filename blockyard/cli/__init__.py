"""The command line: one file a verb, and what they share."""

from blockyard.cli._grammar import parser
from blockyard.cli._main import main

__all__ = ["main", "parser"]
