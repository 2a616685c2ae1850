"""Ctrl-C at any instant ends a program of ours with a line and the code 130, never with a traceback.

While Python imports, an exception is no way out: extension modules swallow it, half-loaded ones fail of something else
later, and before our own code runs there is nobody to catch it. There the process ends at once, which can lose no more
than the kills that everything here survives. Everywhere else it is the usual KeyboardInterrupt.
"""

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

CODE = 130  # what a shell gives a program that its Ctrl-C ended


def own() -> None:
    """Take Ctrl-C in a process of ours; a caller that lets it ignore Ctrl-C, as `nohup` does, is obeyed."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def farewell(arguments: Sequence[str]) -> str:
    """What is said at the end, with the words that go on."""
    return f"\nstopped; what was finished is kept. To go on: {shlex.join(['blockyard', *arguments])}"


def _stop(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, f"{farewell(sys.argv[1:])}\n".encode("utf-8", "backslashreplace"))
            os._exit(CODE)
        frame = frame.f_back
    raise KeyboardInterrupt
