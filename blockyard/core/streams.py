"""The standard streams of a process of ours: always open, able to write any text, and each loss told from the others.

Only a program owns its streams: `own` is called by the command line when it is the whole process, never by the library.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

NAMES = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


class ReaderGone(Exception):
    """Whoever read our standard output has left: there is nobody to answer, and no reason to complain."""


class AnswerLost(Exception):
    """Standard output takes nothing more: a full disk, mostly."""


class Stream:
    """A text stream whose failures go to `lost`; from the first one on, what is written is dropped."""

    def __init__(self, inner: Any, lost: Callable[[OSError], None]) -> None:
        self.inner, self.lost = inner, lost

    def write(self, text: str) -> int:
        self._guarded(lambda: self.inner.write(text))
        return len(text)

    def flush(self) -> None:
        self._guarded(self.inner.flush)

    def _guarded(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except OSError as error:
            # What is still buffered would fail once more when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.inner.fileno())
            self.lost(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def own() -> None:
    """Make the three streams fit for a program: ReaderGone or AnswerLost where standard output fails, and nothing
    where standard error does, whose words are no part of the answer."""
    for name, mode in NAMES:
        if getattr(sys, name) is None:  # closed by the caller: the next file we open must not get its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdout = Stream(sys.stdout, _answer_lost)
    sys.stderr = Stream(sys.stderr, lambda error: None)


def _answer_lost(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise ReaderGone from None
    raise AnswerLost(error.strerror) from None
