"""Files by class: folders of class folders, or paths of a pattern whose fields say what each file is.

FOLDER                              FOLDER/cat/1.png: the class is the first folder; train and test before it split
FOLDER/{digit}_{speaker}_{n}.wav    fields by name: `class` or `label` is the class, else the first one;
                                    `speaker` or `unit` stays whole; `split` may say test
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.core.errors import UsageError, unknown
from blockyard.data.items import labelled, numbered

LABEL, UNIT, SPLIT = ("class", "label"), ("speaker", "unit"), ("split",)
HELD, PARTS = ("test",), ("train", "training", "test", "tune", "valid", "val", "validation", "dev")


@dataclass(frozen=True)
class File:
    """A file, its name below what was named, and what its path says of it."""

    path: str
    name: str
    fields: dict[str, str]


def find(paths: Sequence[str], endings: tuple[str, ...], what: str) -> tuple[list[File], tuple[str, ...]]:
    """The files of these folders and patterns that have such endings, sorted by name, and notes on all others."""
    found: list[File] = []
    passed: Counter[str] = Counter()
    for path in paths:
        every = list(_pattern(path) if "{" in path else _folder(path, what))
        mine = [file for file in every if file.name.lower().endswith(endings)]
        passed.update(Path(file.name).suffix.lower() or "no ending" for file in every if file not in mine)
        if not mine:
            raise UsageError(f"there are no {what} in {path} ({', '.join(endings)})")
        if len(paths) > 1:
            mine = [replace(file, name=f"{Path(path).name}/{file.name}") for file in mine]
        found += mine
    if not found:
        raise UsageError(f"name the {what}: --data FOLDER, with a folder for each class")
    shared = set(found[0].fields)
    if any(set(file.fields) != shared for file in found):
        raise UsageError(f"the paths of the {what} say different things of them; name one folder or one pattern")
    total = sum(passed.values())
    kinds = ", ".join(f"{n} {kind}" for kind, n in passed.most_common(3))
    return sorted(found, key=lambda file: file.name), (f"passed over {total} other files ({kinds})",) if total else ()


def given(fields: Mapping[str, np.ndarray]) -> bool:
    """Whether a field says by its name that it is the class."""
    return any(name in fields for name in LABEL)


def facts(name: str, what: str, fields: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the fields of things say of them, as `Items` takes it: labels, classes, unit, test."""
    label, unit, split = (next((n for n in names if n in fields), None) for names in (LABEL, UNIT, SPLIT))
    found: dict[str, Any] = {"fields": fields}
    found["labels"], found["classes"] = labelled(name, what, fields[label or next(iter(fields))])
    if unit is not None:
        found["unit"] = numbered(fields[unit])[0]
    if split is not None and np.isin(fields[split], HELD).any():
        found["test"] = np.isin(fields[split], HELD)
    return found


def columns(rows: Sequence[dict[str, str]]) -> dict[str, np.ndarray]:
    """The fields of things, by name, as words (n,)."""
    return {name: np.array([row[name] for row in rows], object) for name in rows[0]}


def walk(root: str) -> Iterator[str]:
    """The paths of all files below a folder, relative to it, hidden ones left out."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read folder {error.filename}: {error.strerror}")

    for folder, inner, names in os.walk(root, onerror=refuse):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name).relative_to(root).as_posix()


def _folder(path: str, what: str) -> Iterator[File]:
    """The files of class folders, those of train and test apart where they stand above the classes."""
    if not os.path.isdir(path):
        if os.path.exists(path):
            raise UsageError(f"{path} is one file: name a folder that has a folder of {what} for each class")
        names = os.listdir(Path(path).parent) if Path(path).parent.is_dir() else []
        raise unknown("file or folder", path, [str(Path(path).parent / name) for name in names])
    files = list(walk(path))
    if not files:
        raise UsageError(f"folder {path} is empty; name one with a folder of {what} for each class")
    deep = [name.split("/") for name in files if "/" in name]
    if not deep:
        example = re.sub(r"^[^_.\-]+", "{class}", files[0])
        raise UsageError(
            f"{path} has no folders: give each class one, or say where names hold it, such as '{path}/{example}'"
        )
    divided = {words[0].lower() for words in deep} <= set(PARTS) and all(len(words) > 2 for words in deep)
    for words in deep:
        fields = {"class": words[divided]} | ({"split": words[0].lower()} if divided else {})
        yield File(os.path.join(path, *words), "/".join(words), fields)


def _pattern(pattern: str) -> Iterator[File]:
    """The files whose paths are like the pattern, with its fields."""
    words = Path(pattern).parts
    first = next(i for i, word in enumerate(words) if "{" in word)
    root, tail = Path(*words[:first]) if first else Path("."), "/".join(words[first:])
    if not root.is_dir():
        raise UsageError(f"no such folder: {root} (of the pattern {pattern})")
    pieces = re.split(r"\{(\w+)\}", tail)
    names = pieces[1::2]
    if not names or len(set(names)) < len(names) or "{" in "".join(pieces[::2]):
        raise UsageError(f"{pattern} is no pattern; each field has a name of its own, as in {{class}}_{{speaker}}.wav")
    like = re.compile("".join(re.escape(p) if i % 2 == 0 else "([^/]+?)" for i, p in enumerate(pieces)))
    seen = ""
    for name in walk(str(root)):
        met, seen = like.fullmatch(name), name
        if met:
            yield File(str(root / name), name, dict(zip(names, met.groups())))
    if not seen or not any(like.fullmatch(name) for name in walk(str(root))):
        raise UsageError(f"no file in {root} is like {tail}" + (f"; there is {seen}" if seen else ""))
