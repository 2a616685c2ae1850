"""Local processes that do the runs, a fixed number of threads each."""

import json
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from blockyard.core.errors import UsageError

Order = dict[str, Any]


class WorkFailed(RuntimeError):
    """A run ended by an error of the program, not of the request."""


class Pool:
    """`count` workers; a worker that dies gets a successor, and its order one more try."""

    def __init__(self, count: int, threads: int) -> None:
        self.count, self.threads = count, threads
        self.workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Pool":
        self.workers = [self._start() for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait()

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "blockyard.compare.worker", str(self.threads)]
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, env={**os.environ, **threads})

    def run(self, orders: Iterable[Order], heard: Callable[[int, dict[str, Any]], None]) -> Iterator[tuple[int, Any]]:
        """(number of the order, its answer) as they come; `heard(number, message)` is told what is said on the way."""
        waiting = deque(enumerate(orders))
        doing: dict[int, tuple[int, Order]] = {}
        tried: set[int] = set()
        with selectors.DefaultSelector() as ready:

            def feed(which: int) -> None:
                if waiting:
                    doing[which] = waiting.popleft()
                    order = doing[which][1]
                    worker = self.workers[which]
                    assert worker.stdin is not None
                    worker.stdin.write(json.dumps(order) + "\n")
                    worker.stdin.flush()

            for which, worker in enumerate(self.workers):
                ready.register(worker.stdout, selectors.EVENT_READ, which)  # pyright: ignore[reportArgumentType]
                feed(which)
            while doing:
                for event, _ in ready.select():
                    which = event.data
                    line = event.fileobj.readline()  # pyright: ignore[reportAttributeAccessIssue]
                    if not line:
                        ready.unregister(event.fileobj)
                        self._replace(which, doing, waiting, tried)
                        ready.register(self.workers[which].stdout, selectors.EVENT_READ, which)  # pyright: ignore
                        feed(which)
                        continue
                    number, _order = doing[which]
                    message = json.loads(line)
                    if "error" in message:
                        raise UsageError(message["error"]) if message["usage"] else WorkFailed(message["error"])
                    if "done" not in message:
                        heard(number, message)
                        continue
                    del doing[which]
                    feed(which)
                    yield number, message["done"]

    def _replace(self, which: int, doing: dict[int, Any], waiting: deque[Any], tried: set[int]) -> None:
        code = self.workers[which].wait()
        number, order = doing.pop(which)
        if number in tried:
            raise WorkFailed(f"a worker died twice on the same run (exit {code}); is there enough memory?")
        tried.add(number)
        waiting.appendleft((number, order))
        self.workers[which] = self._start()
