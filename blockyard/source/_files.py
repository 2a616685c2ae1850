"""What sources of many files share: each is read once to see what it is, and copies of another one are left out."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from blockyard.core.errors import UsageError
from blockyard.data.found import File

See = Callable[[File, bytes], None]


def read_each(files: Sequence[File], see: See, what: str) -> tuple[list[File], list[tuple[str, str]], tuple[str, ...]]:
    """The files that are of use, (name, sha256) of each, and notes on the others.

    see   looks at a file's bytes, and raises `UsageError` with the reason where they are of no use
    """
    kept: list[File] = []
    content: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    unfit: list[str] = []
    copies = 0
    for file in files:
        try:
            data = Path(file.path).read_bytes()
            see(file, data)
        except OSError as error:
            unfit.append(f"{file.name} ({error.strerror})")
            continue
        except UsageError as error:
            unfit.append(f"{file.name} ({error})")
            continue
        digest = hashlib.sha256(data).hexdigest()
        if digest in seen:  # a copy would stand on both sides of the split
            copies += 1
            continue
        seen[digest] = file.name
        kept.append(file)
        content.append((file.name, digest))
    if not kept:
        raise UsageError(f"none of the {len(files)} {what} can be read: {unfit[0]}")
    notes = [f"{copies} of {len(files)} {what} repeat another one and are left out"] if copies else []
    if unfit:
        more = f" and {len(unfit) - 3} more" if len(unfit) > 3 else ""
        notes.append(f"passed over {', '.join(unfit[:3])}{more}")
    return kept, content, tuple(notes)


def named(paths: Sequence[str]) -> str:
    """A short name for what these paths name."""
    fixed = [path.partition("{")[0].rstrip("/") or path for path in paths]
    first = Path(fixed[0]).name or fixed[0]
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
