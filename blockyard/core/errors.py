"""The two errors that the command line tells in a line or two.

UsageError   what a user can mend: exit code 2          WorkFailed   work that ended by an error of its own: 1
"""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


class UsageError(ValueError):
    """A request that cannot be met as it stands; the message names the mistake and the mend."""


class WorkFailed(RuntimeError):
    """Work that ended by an error of its own, not of the request."""


def brief(text: str, most: int = 60) -> str:
    """The text, or its beginning where it is too long for a line."""
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def missing(path: Path, behind: str = "") -> UsageError:
    """The error for a path that is not there, with what it may have meant; `behind` is what was said with it (:ARM)."""
    parent = path.parent
    if not os.path.isdir(parent):
        return UsageError(f"no such file or folder: {path}{behind} (there is no folder {parent})")
    try:
        names = sorted(p.name for p in parent.iterdir() if p.is_dir() or not behind)
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(f'{parent / n}{behind}' for n in near)}?" if near else ""
    return UsageError(f"no such file or folder: {path}{behind}{hint}")


def unknown(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name nobody has, with the nearest valid ones."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:12]) or 'none'}"
    return UsageError(f"unknown {what} {brief(repr(name))}; {hint}")
