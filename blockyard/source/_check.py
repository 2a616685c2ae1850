"""What a source promises: it names its mistakes, and gives what it says."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError
from blockyard.core.registry import Entry
from blockyard.data.annotated import Questions, Rows, Tagged
from blockyard.data.corpus import Corpus
from blockyard.data.items import Items
from blockyard.data.table import Table
from blockyard.model.claims import Verdict

KINDS = {
    "corpus": Corpus, "table": Table, "items": Items, "tagged": Tagged, "questions": Questions, "rows of texts": Rows,
}  # fmt: skip


def promises(entry: Entry, settings: dict[str, Any]) -> Iterator[Verdict]:
    """Each promise with what came of it."""
    gives = entry.constant("gives")
    yield Verdict("says what it gives", gives in KINDS, "" if gives in KINDS else f"gives={gives!r}")
    made = entry.load_named()
    if entry.constant("known"):
        try:
            data, again = made().read([]), made().read([])
        except UsageError as error:  # an extra is missing
            yield Verdict("is there", True, str(error))
            return
        yield Verdict("is what it says", isinstance(data, KINDS[gives]))
        yield Verdict("is the same twice", data.hash == again.hash)
        return
    with tempfile.TemporaryDirectory() as folder:
        absent = Path(folder, f"absent{(entry.constant('endings') or ('',))[0]}")
        yield _refused("names what is not there", made, absent)
        for ending in entry.constant("endings") or ("",):
            short = Path(folder, f"short{ending}")
            short.write_bytes(b"\x00a\n")
            yield _refused(f"refuses three bytes{' of ' * bool(ending)}{ending}", made, short)


def _refused(name: str, made: Any, path: Path) -> Verdict:
    try:
        made().read([str(path)])
    except UsageError as error:
        lines = str(error).splitlines()
        return Verdict(name, len(lines) <= 2, "" if len(lines) <= 2 else "in more than two lines")
    except Exception as error:
        return Verdict(name, False, f"{type(error).__name__}: {error}")
    return Verdict(name, False, "it read something")
