"""The text of the comparisons."""

from tests.compare.conftest import text

__all__ = ["text"]
