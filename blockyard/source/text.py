"""Text: files, folders, rows of tables; without a path, the texts that every CPython carries.

Source   none    Family  text
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

from blockyard.data.corpus import Corpus, load_text
from blockyard.source._base import Source


class Text(Source):
    gives = "corpus"

    def read(self, paths: Sequence[str], **how: Any) -> Corpus:
        return load_text(list(paths) or None, codec=how.get("codec", "bytes"))
