"""Text: files, folders, rows of tables; without a path, the texts that every CPython carries.

Paths with a share behind them, a.txt@0.7 and b.txt@0.3, are texts of their own that are mixed.

Source   none    Family  text
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Any

from blockyard.data.corpus import Corpus, load_text
from blockyard.data.mixed import Mixed, load_mixed, shared
from blockyard.source._base import Source


class Text(Source):
    gives = "corpus"

    def read(self, paths: Sequence[str], **how: Any) -> Corpus | Mixed:
        shares = shared(paths)
        if shares is not None:
            return load_mixed(shares, codec=how.get("codec", "bytes"))
        return load_text(list(paths) or None, codec=how.get("codec", "bytes"))
