"""Tasks shared among threads.

The compiled loops run on the framework's own threads wherever those come by GNU's names for OpenMP. After an operation
of the framework its threads look out for the next one for some milliseconds: threads of our own would share a core with
them and take up to twice as long. Elsewhere one small pool does: tasks are rows and heads.
"""

import ctypes
import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

WORKERS = os.cpu_count() or 1
LITTLE = 1 << 15  # elements of work that cost less than waking a thread

_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _of_the_framework() -> tuple[Any, Any] | None:
    """How its threads are started, and how many there are then."""
    try:
        library = ctypes.CDLL(None)
        start, count = library.GOMP_parallel, library.omp_get_num_threads
    except (AttributeError, OSError, TypeError):
        return None
    start.argtypes, start.restype = (_WORK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return start, count


_theirs = _of_the_framework()
_pools: list[ThreadPoolExecutor] = []


def _alone() -> None:
    """Threads do not survive a fork, and the framework's would be waited for."""
    global _theirs
    _theirs = None
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_alone)


def _pool() -> ThreadPoolExecutor:
    if not _pools:  # threads start on demand: a second pool made at the same time costs nothing
        _pools.append(ThreadPoolExecutor(WORKERS, thread_name_prefix="blockyard"))
    return _pools[0]


def run_threads(work: Callable[[int], None], threads: int) -> None:
    """work(threads) by so many threads side by side, or by fewer, as many as it is told."""
    wrong: list[BaseException] = []

    def one(count: int) -> None:
        try:
            work(count)
        except BaseException as error:  # nothing passes through what is not Python
            wrong.append(error)

    if _theirs is None:
        others = [_pool().submit(one, threads) for _ in range(threads - 1)]
        one(threads)
        for other in others:
            other.result()
    else:
        start, count = _theirs
        start(_WORK(lambda _: one(count())), None, threads, 0)
    if wrong:
        raise wrong[0]


def parallel_for(loop: Callable[..., None], tasks: int, work: int, *args: Any) -> None:
    """loop(*args, first, last) over all tasks, by as many threads as the framework uses; `work` in elements."""
    threads = min(torch.get_num_threads(), tasks) if work > LITTLE else 1
    if threads == 1:
        loop(*args, 0, tasks)
        return
    pieces = min(tasks, 4 * threads)  # some to spare: a thread that is disturbed takes fewer
    turns = itertools.count()

    def take(_: int) -> None:
        for i in turns:
            if i >= pieces:
                return
            loop(*args, tasks * i // pieces, tasks * (i + 1) // pieces)

    run_threads(take, threads)


_one_at_a_time = threading.Lock()  # threads that wait for one another must all be running


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C is heard when all threads are back: a thread that it stops too early leaves the others waiting."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)


def spmd(loop: Callable[..., None], threads: int, arrived: np.ndarray, *args: Any) -> None:
    """loop(*args, arrived, thread, threads) by all threads at once; `arrived` counts those who came to a meeting."""
    turns = itertools.count()

    def one(count: int) -> None:
        try:
            loop(*args, arrived, next(turns), count)
        except BaseException:  # stopped before it began: nobody may wait for this thread
            arrived[:] = np.iinfo(arrived.dtype).max // 2
            raise

    with _one_at_a_time, _undisturbed():
        arrived[:] = 0
        if threads == 1:
            one(1)
        else:
            run_threads(one, min(threads, WORKERS + 1))  # more would wait for each other without ever starting
