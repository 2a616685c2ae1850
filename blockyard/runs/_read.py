"""Files, folders and frames as rows: dictionaries of words, numbers and nothing, each with the place it came from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from blockyard.core.errors import UsageError

Row = dict[str, Any]
Placed = Iterator[tuple[str, Row]]
FILE, FOLDER = "file", "folder"  # columns that say where a row came from
MOST = 2_000_000  # rows


class Form(Protocol):
    """What the file of a form holds."""

    FILES: str

    def known(self, path: Path) -> bool:
        """Whether a file or a folder is of this form, by its name and its first bytes."""
        ...

    def rows(self, path: Path) -> Placed:
        """The place and the content of every row; UsageError where it is damaged."""
        ...


@dataclass(frozen=True)
class Rows:
    """What was read. `places` says of every row where it stands, `files` what was read at all."""

    rows: list[Row]
    places: list[str]
    files: list[str]

    @property
    def names(self) -> list[str]:
        """The columns, in the order in which they are met."""
        return list({name: None for row in self.rows for name in row})

    def values(self, name: str) -> list[Any]:
        """A column; None where a row has no such value."""
        return [row.get(name) for row in self.rows]


@lru_cache(maxsize=1)
def forms() -> list[Form]:
    """All files of this folder that hold a form."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    return [cast(Form, import_module(f"blockyard.runs.{name}")) for name in names]


def read_rows(source: Any) -> Rows:
    """The rows of files and folders, or of a pandas or polars DataFrame, a list of dictionaries, a dictionary of lists.

    UsageError, in a line, where there is nothing to read.
    """
    if isinstance(source, str | Path):
        source = [source]
    if isinstance(source, Sequence) and source and all(isinstance(each, str | Path) for each in source):
        return _files([Path(each) for each in source])
    rows = [{str(name): plain(value) for name, value in row.items()} for row in _records(source)]
    if not rows:
        raise UsageError("the table has no rows")
    return Rows(rows, [f"row {i}" for i in range(1, len(rows) + 1)], [])


def _records(source: Any) -> Iterable[Mapping[Any, Any]]:
    """The rows of a table in memory, as dictionaries."""
    if hasattr(source, "to_dicts"):  # polars
        return source.to_dicts()
    if hasattr(source, "to_dict") and hasattr(source, "reset_index"):  # pandas; what stands in its index counts too
        named = any(name is not None for name in source.index.names)
        return (source.reset_index() if named else source).to_dict("records")
    if isinstance(source, Mapping):
        columns = {name: list(values) for name, values in source.items()}
        if len({len(values) for values in columns.values()}) > 1:
            raise UsageError("the columns of the table have different lengths")
        return [dict(zip(columns, row)) for row in zip(*columns.values())]
    if isinstance(source, Iterable):
        rows = list(source)
        if all(isinstance(row, Mapping) for row in rows):
            return rows
    kinds = "paths, a pandas or polars DataFrame, a list of dictionaries or a dictionary of lists"
    raise UsageError(f"a {type(source).__name__} is no table of runs; give {kinds}")


def _files(paths: list[Path]) -> Rows:
    found, places, files = [], [], []
    for root in paths:
        for path, form in _of_a_form(root):
            for place, row in form.rows(path):
                found.append({FILE: path.stem, FOLDER: _folder(path, root)} | row)
                places.append(place)
                if len(found) > MOST:
                    raise UsageError(f"more than {MOST:,} rows; give a table of scores, not of every step")
            files.append(str(path))
    if not found:
        raise UsageError(f"{' '.join(map(str, paths))}: no rows")
    return Rows(found, places, files)


def _folder(path: Path, root: Path) -> str:
    """The folder that a file lies in, from the one that was given on; of a run that is a folder, itself."""
    inside = path if path.is_dir() else path.parent
    above = root if root.is_dir() else root.parent
    return str(Path(above.resolve().name) / inside.relative_to(above))


def _of_a_form(root: Path) -> list[tuple[Path, Form]]:
    """A file, or all files below a folder that are of a form, each with its form."""
    try:
        if not root.exists():
            raise UsageError(f"there is no {root}")
    except OSError as error:
        raise UsageError(f"cannot read {str(root)[:80]}: {error.strerror}") from None
    form = _form(root)
    if form:
        return [(root, form)]
    if not root.is_dir():
        raise UsageError(f"{root} is no table of runs; known are {said()}")
    found = [(path, form) for path in _below(root) if (form := _form(path))]
    if not found:
        raise UsageError(f"{root} holds no table of runs; known are {said()}")
    return found


def _below(folder: Path) -> Iterator[Path]:
    """All that lies below a folder, in the order of names; a folder that is of a form itself is not looked into."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        yield path
        if path.is_dir() and not _form(path):
            yield from _below(path)


def _form(path: Path) -> Form | None:
    return next((form for form in forms() if form.known(path)), None)


def said() -> str:
    """The forms that are known, in words."""
    *most, last = [form.FILES for form in forms()]
    return f"{', '.join(most)} and {last}"


def text_of(path: Path) -> str:
    """The text of a file; UsageError where it is empty, unreadable or none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text: it is not UTF-8") from None
    if not text.strip():
        raise UsageError(f"{path} is empty")
    return text


def plain(value: Any) -> Any:
    """A value as a word, a number or nothing: numpy's scalars as Python's, pandas' missing ones as None."""
    if value is None or isinstance(value, str | int | float):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return value.item()
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


def flat(value: Mapping[str, Any], before: str = "") -> Row:
    """Nested dictionaries as one, names joined by dots; lists are no values of a row and are left out."""
    row: Row = {}
    for name, each in value.items():
        if isinstance(each, Mapping):
            row |= flat(each, f"{before}{name}.")
        elif not isinstance(each, list):
            row[f"{before}{name}"] = each
    return row
