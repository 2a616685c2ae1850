"""Local processes that do the runs, a fixed number of threads each."""

import json
import os
import selectors
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from blockyard.core import child
from blockyard.core.document import Document, Json
from blockyard.core.errors import WorkFailed

Heard = Callable[[int, Json], None]


def _out(worker: "subprocess.Popen[bytes]") -> Any:
    assert worker.stdout is not None
    return worker.stdout


class Pool:
    """`count` workers; a worker that dies gets a successor, and its order one more try."""

    def __init__(self, count: int, threads: int) -> None:
        self.count, self.threads = count, threads
        self.workers: list[subprocess.Popen[bytes]] = []
        self.rests = [b""] * count

    def __enter__(self) -> "Pool":
        self.workers = [self._start() for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        return child.start("blockyard.compare.run.worker", str(self.threads), threads=self.threads)

    def run(self, orders: Iterable[Document], heard: Heard) -> Iterator[tuple[int, Json]]:
        """(number of the order, its answer) as they come; `heard(number, message)` is told what is said on the way."""
        waiting = deque(enumerate(orders))
        doing: dict[int, tuple[int, Document]] = {}
        tried: set[int] = set()
        with selectors.DefaultSelector() as ready:

            def feed(which: int) -> None:
                if waiting:
                    doing[which] = waiting.popleft()
                    worker = self.workers[which]
                    assert worker.stdin is not None
                    # One that is dead already takes no order; its answers end as well, and it is replaced there.
                    with suppress(BrokenPipeError):
                        worker.stdin.write(json.dumps(doing[which][1].to_json()).encode() + b"\n")
                        worker.stdin.flush()

            for which, worker in enumerate(self.workers):
                ready.register(_out(worker), selectors.EVENT_READ, which)
                feed(which)
            while doing:
                for event, _ in ready.select():
                    which = event.data
                    lines = self._lines(which, event.fd)
                    if lines is None:
                        ready.unregister(event.fileobj)
                        self._replace(which, doing, waiting, tried)
                        ready.register(_out(self.workers[which]), selectors.EVENT_READ, which)
                        feed(which)
                        continue
                    for line in lines:
                        number, message = doing[which][0], json.loads(line)
                        if error := child.failure(message):
                            raise error
                        if "done" not in message:
                            heard(number, message)
                            continue
                        del doing[which]
                        feed(which)
                        yield number, message["done"]

    def _lines(self, which: int, fd: int) -> list[bytes] | None:
        """The whole lines a worker has written since the last look; None when it is gone.

        Read from the descriptor itself: a buffered reader would hold lines back that no later event announces.
        """
        data = os.read(fd, 1 << 16)
        if not data:
            return None
        *lines, self.rests[which] = (self.rests[which] + data).split(b"\n")
        return lines

    def _replace(self, which: int, doing: dict[int, Any], waiting: deque[Any], tried: set[int]) -> None:
        code = self.workers[which].wait()
        if which in doing:
            number, order = doing.pop(which)
            if number in tried:
                raise WorkFailed(f"a worker died twice on the same run (exit {code}); is there enough memory?")
            tried.add(number)
            waiting.appendleft((number, order))
        self.workers[which], self.rests[which] = self._start(), b""
