"""Files and folders that are whole or absent, and documents that know when they were changed. Needs no torch.

A file is written aside, flushed and renamed. A folder has an index, a file that lists the others with their sha256:
they are written aside first, the index is renamed into place, then they are. Killed at any instant, a folder holds what
it held or what it should hold: a reader that does not find a file as the index describes it looks for it aside.

A document is a JSON object with `format` and, in its newer formats, `checksum` over everything else in it.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from blockyard.core.errors import UsageError

ASIDE = ".aside"  # how the name of a file ends that waits to be renamed


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a reader, or a crash, meets the old content or the new one and nothing between.

    Folders above it are made; a link is followed, not replaced. OSError where it cannot be written.
    """
    write_whole_by(path, lambda aside: _write(aside, content))


def write_whole_by(path: Path, write: Callable[[Path], object]) -> None:
    """The same of what `write` puts, flushed, into a file that is not there yet, for content larger than memory."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        write(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_folder(
    folder: Path, index: str, files: Iterable[tuple[str, bytes]], finish: Callable[..., bytes],
    ours: Callable[[], Mapping[str, str]],
) -> None:  # fmt: skip
    """Write files and the index that makes them count; the folder's other files stay.

    index   the name of the index; `finish(new, gone)` gives its content from the sha256 of every new file, by name,
            and that of every old one that will be removed
    ours    the files, with their sha256, that an earlier call left here and this one may replace or remove; asked
            while nobody else writes here. UsageError where the folder is not ours

    UsageError also where the folder cannot be written, or a file of somebody else has one of the names.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UsageError(f"{folder} is no folder; name another one")
    fresh = not os.path.exists(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            old = dict(ours())
            for name, digest in old.items():  # what a killed process did not come to
                _settle(folder, name, digest)
            new: dict[str, str] = {}
            made = ""
            try:
                for name, data in files:
                    if name not in old and (folder / name).exists():
                        raise UsageError(f"{folder / name} is not a file that was written here; name another folder")
                    new[name] = _put_aside(folder, name, data)
                gone = {name: digest for name, digest in old.items() if name not in new}
                made = _put_aside(folder, index, finish(new, gone))
                _settle(folder, index, made)
            except BaseException:
                if not made or digest_of(folder / index) != made:
                    _sweep(folder)
                    if fresh:
                        with contextlib.suppress(OSError):
                            folder.rmdir()
                raise
            for name, digest in new.items():
                _settle(folder, name, digest)
            for name in gone:
                (folder / name).unlink(missing_ok=True)
            _sweep(folder)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; name another folder") from None


def new_folder(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """A folder of these files that was not there before, or was empty: all of them appear at once, or none.

    UsageError where anything is in it, or it cannot be written.
    """
    folder = Path(os.path.realpath(folder))
    refuse_taken(folder)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        try:
            for name, content in files:
                _write(aside / name, content)
            os.rename(aside, folder)  # fails where something has come into it since
        except BaseException:
            for path in aside.iterdir() if aside.exists() else ():
                path.unlink()
            with contextlib.suppress(FileNotFoundError):
                aside.rmdir()
            raise
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; name another folder") from None


def refuse_taken(path: Path) -> None:
    """UsageError where a name is taken: by a file, or by a folder that is not empty."""
    try:
        if path.is_dir() and not any(path.iterdir()):
            return
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; name another one") from None
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already; name another one, or remove it first")


def read_file(folder: Path, name: str, digest: str) -> bytes:
    """The content that an index describes; UsageError where it is missing or another."""
    why = "is missing"
    for path in (folder / name, _aside(folder, name, digest), folder / name):  # it may be renamed as we look
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() == digest:
            return content
        why = "is damaged: its checksum is not the one that was written down"
    raise UsageError(f"{folder} is not complete: {name} {why}")


def digest_of(path: Path) -> str:
    """The sha256 of a file's content; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def is_aside(name: str) -> bool:
    """Whether this is the name of a file that waits to be renamed."""
    return name.startswith(".") and name.endswith(ASIDE)


def strict(value: Any) -> Any:
    """A value as JSON can say it: null for a number that JSON has no word for (NaN, the infinities)."""
    if isinstance(value, dict):
        return {key: strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sealed(document: Mapping[str, Any]) -> bytes:
    """A document as it is stored: JSON with a checksum over everything else in it."""
    document = strict(dict(document))
    return json.dumps({**document, "checksum": _checksum(document)}, indent=1).encode()


def read_document(path: Path, newest: int, sealed_since: int) -> dict[str, Any]:
    """The document in a file, without its checksum.

    newest        the newest format that is known; a document without `format` has format 1
    sealed_since  the first format that has a checksum: an older one has none and is taken as it is

    UsageError, in a line, where it cannot be read, is no such document, was changed, or is too new.
    """
    document = read_json(path)
    number = document.get("format", 1)
    if type(number) is not int or number < 1:
        raise UsageError(f"{path} is damaged: format {number!r} is not a number of a format")
    if number > newest:
        raise UsageError(f"{path} has format {number}; this blockyard reads up to {newest}: upgrade it")
    told = document.pop("checksum", None)
    if told != (_checksum(document) if number >= sealed_since else None):
        raise UsageError(f"{path} is damaged or was edited: its checksum does not fit what it says")
    return document


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; UsageError where there is none."""
    try:
        value = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged: it is not a JSON object")
    return value


def is_missing(path: Path) -> bool:
    """Whether nothing is there; what cannot be looked at (a name that is too long) is left to whoever reads it."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _checksum(document: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(document))  # as it will be read: every key a word, every tuple a list
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: bytes | memoryview) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _aside(folder: Path, name: str, digest: str) -> Path:
    return folder / f".{name}.{digest[:16]}{ASIDE}"


def _put_aside(folder: Path, name: str, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    aside = _aside(folder, name, digest)
    aside.unlink(missing_ok=True)
    _write(aside, content)
    return digest


def _settle(folder: Path, name: str, digest: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.replace(_aside(folder, name, digest), folder / name)


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        if is_aside(path.name):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While this lasts, nobody else writes the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def cache_root(cache: str | os.PathLike[str] | None = None) -> Path | None:
    """The folder that everything kept lies in; None without a home folder."""
    named = cache or os.environ.get("BLOCKYARD_CACHE")
    try:
        return Path(named).expanduser() if named else Path.home() / ".cache" / "blockyard"
    except RuntimeError:
        return None
