"""What can be read once only, standard input and pipes, is kept as a file: other processes are to read it too."""

import hashlib
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from blockyard.core.errors import UsageError
from blockyard.data.tokens import write_whole


def keep(paths: Sequence[str | os.PathLike[str]], root: Path | None) -> list[str]:
    """The paths, absolute; each that can be read once only replaced by a copy of its content below `root`.

    A copy is named by its content, so that a comparison that goes on finds what it began with.
    """
    return [_kept(os.fspath(path), root) for path in paths]


def _kept(path: str, root: Path | None) -> str:
    name = "standard input" if path == "-" else "a pipe"
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        elif not _read_once(path):
            return os.path.abspath(path)
        else:
            data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if not data.strip():
        raise UsageError(f"{name} is empty; name a file with text in it")
    reason = "there is no home folder"
    if root is not None:
        copy = root / "once" / hashlib.sha256(data).hexdigest()[:32] / name
        try:
            if not copy.exists():
                write_whole(copy, data)
            return os.path.abspath(copy)
        except OSError as error:
            reason = f"{root}: {error.strerror}"
    raise UsageError(f"{name} cannot be kept for the runs ({reason}); save it to a file, or set BLOCKYARD_CACHE")


def _read_once(path: str) -> bool:
    """Whether a path is a pipe or a device, or names an open file of this process alone."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # whoever reads it says so
        return False
    own = os.path.abspath(path).startswith(("/dev/", "/proc/"))
    return not stat.S_ISDIR(mode) and (own or not stat.S_ISREG(mode))
