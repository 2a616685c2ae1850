"""Compiled loops on disk: one folder for each text of all loops, whichever copy of the library compiled them.

Numba by itself keeps them beside a file and by that file's time: every copy of the library would compile for itself,
and a loop whose callee changed would not be compiled again. Here the name of the folder is a digest of every file with
loops. It lies where NUMBA_CACHE_DIR says, else under BLOCKYARD_CACHE or ~/.cache/blockyard; folders that no process has
opened for long are removed.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba.core import caching

from blockyard.core.files import cache_root

ROOM = Path(__file__).parent.parent
WHOLE = ("toolkit/*.py", "program/codes.py")  # what loops are made of
LONG = 60 * 24 * 3600  # seconds


@cache
def stamp() -> str:
    """A digest of all files with loops, and of what those are made of."""
    held = {path for files in WHOLE for path in ROOM.glob(files)}
    held |= {
        path for path in ROOM.glob("*/*.py") if b"\n@compiled" in (text := path.read_bytes()) or b"\n@inlined" in text
    }
    found = hashlib.sha256()
    for path in sorted(held):
        text = path.read_bytes()
        found.update(f"{path.relative_to(ROOM).as_posix()} {len(text)}\n".encode() + text)
    return found.hexdigest()[:32]


@cache
def folder() -> Path | None:
    """Where loops are kept; None where nothing can be written."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(named) if named else cache_root()
    if root is None:
        return None
    found = root / "kernels" / stamp()
    try:
        found.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=found).close()
        os.utime(found)
    except OSError:
        return None
    forget(found.parent, time.time() - LONG)
    return found


def forget(kept: Path, before: float) -> None:
    """Remove folders of loops that were last opened before a time in seconds."""
    for other in kept.iterdir():
        with suppress(OSError):  # another process may have removed it just now
            if len(other.name) == 32 and other.is_dir() and other.stat().st_mtime < before:
                shutil.rmtree(other, ignore_errors=True)


class _Place(caching.UserProvidedCacheLocator):
    """A file's own folder among the loops."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._lineno, place = py_func.__code__.co_firstlineno, folder()
        assert place is not None
        path = Path(py_file)
        self._cache_path = str(place / path.parent.name)

    def get_source_stamp(self) -> str:
        return stamp()

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        return None if folder() is None else cls(py_func, py_file)


class _How(caching.CompileResultCacheImpl):
    _locator_classes = [_Place]


class _Kept(caching.FunctionCache):
    _impl_class = _How

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """None where what lies there is damaged: then it is compiled again, and written over."""
        with suppress(Exception):  # whatever a stranger's pickle says
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Left out where the disk is full."""
        with suppress(OSError):
            super().save_overload(sig, data)


def keep(loop: Any) -> Any:
    """The loop, found on disk from now on where it was compiled before."""
    if folder() is not None:
        loop._cache = _Kept(loop.py_func)
        index = loop._cache._cache_file
        index._load_index = _readable(index._load_index)
    return loop


def _readable(load: Callable[[], Any]) -> Callable[[], Any]:
    """What was kept may have been damaged, or name what other versions of a library have: then nothing was kept."""

    def found() -> Any:
        try:
            return load()
        except Exception:  # whatever a stranger's pickle says
            return {}

    return found
