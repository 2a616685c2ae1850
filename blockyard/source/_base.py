"""The contract of a source, and which of them reads what a user named.

corpus          documents of text, split and tokenised          data.corpus.Corpus, or data.mixed.Mixed
table           columns of numbers, words and times             data.table.Table
items           images, sounds, texts or vectors with labels    data.items.Items
tagged          sentences with a tag for every word             data.annotated.Tagged
questions       texts, questions, where their answers stand     data.annotated.Questions
rows of texts   a table of which several columns are texts      data.annotated.Rows
"""

import difflib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from blockyard.core import registry
from blockyard.core.errors import UsageError, missing
from blockyard.data.annotated import Questions, Rows, Tagged
from blockyard.data.corpus import Corpus
from blockyard.data.formats import bare
from blockyard.data.items import Items
from blockyard.data.mixed import Mixed
from blockyard.data.table import Table

Data = Corpus | Mixed | Table | Items | Tagged | Questions | Rows
MANY = 10_000  # files of a folder that are looked at to see what it holds


class Source(ABC):
    """Where data come from.

    gives     the kind of data it reads to: corpus, table or items
    endings   of the files it takes, in small letters; also inside folders. None: it takes what no other does
    known     data under its own name, without a file: `--data digits`
    usual     False: only a task that asks for what it gives has it read files that another source takes as well
    asked     it takes any file where a task asks for what it gives and no other source of that takes it
    """

    gives: ClassVar[str]
    endings: ClassVar[tuple[str, ...]] = ()
    known: ClassVar[bool] = False
    usual: ClassVar[bool] = True
    asked: ClassVar[bool] = False

    @abstractmethod
    def read(self, paths: Sequence[str], **how: Any) -> Any:
        """The data of these paths; a `UsageError` says what is wrong with them.

        how   codec, for what is text
        """


def read(paths: Sequence[str], wanted: Sequence[str] = (), **how: Any) -> Data:
    """The data that these paths name, of one of the kinds that are wanted (none: of any)."""
    entry = _source(paths, wanted)
    return entry.load_named()().read([] if entry.constant("known") else list(paths), **how)


def known_by_name() -> list[str]:
    """The names of data that need no file: `digits`."""
    return [name for name, entry in registry.entries("source").items() if entry.constant("known")]


def _source(paths: Sequence[str], wanted: Sequence[str]) -> registry.Entry:
    entries = registry.entries("source")
    names = [os.path.basename(path) for path in paths]
    known = known_by_name()
    if len(paths) == 1 and (paths[0] in known or (names[0] in known and not os.path.exists(paths[0]))):
        found = [entries[names[0]]]
    else:
        _refuse_missing(paths, known)
        files = [ending for path in paths for ending in _endings(path)]
        _refuse_mixed(files, entries, ", ".join(names))
        found = [e for e in entries.values() if e.constant("endings") and _mostly(files, e.constant("endings"))]
        found += [e for e in entries.values() if not e.constant("endings") and not e.constant("known")]
    if not wanted:
        found = [entry for entry in found if entry.constant("usual", True)]
    fitting = [entry for entry in found if not wanted or entry.constant("gives") in wanted]
    if wanted and paths and not fitting:
        fitting = [e for e in entries.values() if e.constant("asked") and e.constant("gives") in wanted]
    if not fitting:
        _refuse_empty(paths, known)
        usual = (entry for entry in found if entry.constant("usual", True))
        given = ", ".join(dict.fromkeys(str(entry.constant("gives")) for entry in usual))
        raise UsageError(f"this task is asked of {' or '.join(wanted)}, and {', '.join(names) or 'nothing'} is {given}")
    return fitting[0]


def _refuse_mixed(files: Sequence[str], entries: dict[str, registry.Entry], named: str) -> None:
    """Refuse things of two kinds: nobody could say which of them are meant."""
    kinds = {
        name: met
        for name, entry in entries.items()
        if entry.constant("gives") == "items" and entry.constant("usual", True) and entry.constant("endings")
        if (met := next((file for file in files if file.endswith(entry.constant("endings"))), None))
    }
    if len(kinds) > 1:
        one = os.path.splitext(next(iter(kinds.values())))[1]
        raise UsageError(
            f"{named} holds both {' and '.join(kinds)}; name one kind by a pattern, FOLDER/{{class}}/{{name}}{one}"
        )


def _refuse_missing(paths: Sequence[str], known: Sequence[str]) -> None:
    """Refuse what is not there and is written like data that are known; a source says of other paths what is wrong."""
    for path in paths:
        near = difflib.get_close_matches(os.path.basename(path), known, n=1, cutoff=0.7)
        if near and not os.path.exists(path):
            raise UsageError(f"no such file or folder: {path}; did you mean {near[0]}?")


def _refuse_empty(paths: Sequence[str], known: Sequence[str]) -> None:
    """Refuse what is not there, and folders without a file."""
    for path in paths:
        if not os.path.exists(path) and "{" not in path and os.path.basename(path) not in known:
            raise missing(Path(path))
        if os.path.isdir(path) and not _endings(path):
            raise UsageError(f"folder {path} is empty")


def _endings(path: str) -> list[str]:
    """The files that a path names, in small letters, without the endings of what packed them."""
    if not os.path.isdir(path):
        return [bare(path if os.path.exists(path) else path.rpartition(":")[0] or path)]  # FILE:COLUMN
    found = (
        bare(name)
        for folder, _, names in os.walk(path)
        for name in names
        if not name.startswith(".") and "/." not in folder.removeprefix(path)
    )
    return [name for name, _ in zip(found, range(MANY))]


def _mostly(files: Sequence[str], endings: tuple[str, ...]) -> bool:
    """Whether most of these have such an ending."""
    return bool(files) and 2 * sum(file.endswith(endings) for file in files) > len(files)
