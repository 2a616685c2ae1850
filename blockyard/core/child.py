"""Processes that serve us: started with this very library, never with what lies in the current folder.

    parent   process = start("blockyard.compare.run.worker", "2", threads=2)    writes its stdin, reads its stdout
    child    serve(lambda order, tell: ...)    a JSON line in, then messages and at last {"done"} or {"error"} out

Answers come through a pipe of their own. The child's standard output is our standard error and its standard input is
empty, so that whatever a library prints or reads there is no part of the talk. Ctrl-C is for the parent alone.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from blockyard.core.document import Json
from blockyard.core.errors import UsageError, WorkFailed

Tell = Callable[[Json], None]

ROOT = Path(__file__).parent.parent
# By the file it lies in, so that a checkout that the parent found in its current folder is found without that folder.
BOOT = """
import sys
from importlib import util
from runpy import run_module
spec = util.spec_from_file_location("blockyard", sys.argv.pop(1))
sys.modules["blockyard"] = util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["blockyard"])
run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def python(*words: str) -> list[str]:
    """The command of a Python that looks for modules in PYTHONPATH and what is installed, not in the current folder."""
    return [sys.executable, "-P", *words]


def start(module: str, *words: str, threads: int, quiet: bool = False, **env: str) -> "subprocess.Popen[bytes]":
    """A process that runs a module of ours; `quiet` drops what it says besides its answers."""
    count = str(threads)
    # PYTHONSAFEPATH: the same for the processes that the child starts, a compiler's for example.
    env = {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "PYTHONSAFEPATH": "1", **env}
    read, write = os.pipe()
    aside = subprocess.DEVNULL if quiet else 2
    command = python("-c", BOOT, str(ROOT / "__init__.py"), module, *words, str(write))
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited; ours waits until it is open again
    try:
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, stdin=pipe, stdout=aside, stderr=aside, env=env, pass_fds=(write,))
    finally:
        os.close(write)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    child.stdout = os.fdopen(read, "rb", buffering=0)
    return child


def _channel() -> tuple[IO[str], IO[str]]:
    """Where orders come from and answers go to; the number of the pipe is the last argument."""
    orders: Any = os.fdopen(os.dup(0), "r", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    write = int(sys.argv.pop())
    os.set_inheritable(write, False)  # a grandchild that outlives us must not keep the pipe open
    return orders, os.fdopen(write, "w", encoding="utf-8")


def serve(handle: Callable[[Json, Tell], Any]) -> None:
    """In a child: answer order after order until there are no more, and end in the middle of one without a parent."""
    orders, answers = _channel()
    parent = os.getppid()

    def tell(message: Json) -> None:
        if os.getppid() != parent:
            os._exit(1)
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    for line in orders:
        try:
            tell({"done": handle(json.loads(line), tell)})
        except UsageError as error:
            tell({"error": str(error), "usage": True})
        except Exception:
            tell({"error": traceback.format_exc(), "usage": False})


def failure(message: Json) -> Exception | None:
    """In a parent: the error that a child's message tells of, if it does."""
    if "error" not in message:
        return None
    return UsageError(message["error"]) if message["usage"] else WorkFailed(message["error"])
