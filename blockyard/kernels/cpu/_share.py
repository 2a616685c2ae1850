"""Tensors as flat arrays, and tasks shared among threads.

The compiled loops bring no threads of their own: numba's pools would stand beside the framework's, and the one that
needs no library is not safe under concurrent calls. One small pool is enough: tasks are rows and heads.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ._lanes import PAD

WORKERS = os.cpu_count() or 1
LITTLE = 1 << 15  # elements of work that cost less than waking a thread

_pools: list[ThreadPoolExecutor] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


def _pool() -> ThreadPoolExecutor:
    if not _pools:  # threads start on demand: a second pool made at the same time costs nothing
        _pools.append(ThreadPoolExecutor(WORKERS, thread_name_prefix="blockyard"))
    return _pools[0]


def share(loop: Callable[..., None], tasks: int, work: int, *args: Any) -> None:
    """loop(*args, first, last) over all tasks, by as many threads as the framework uses; `work` in elements."""
    threads = min(torch.get_num_threads(), tasks) if work > LITTLE else 1
    if threads == 1:
        loop(*args, 0, tasks)
        return
    pieces = min(tasks, 4 * threads)  # some to spare: a thread that is disturbed takes fewer
    turns = itertools.count()

    def take():
        for i in turns:
            if i >= pieces:
                return
            loop(*args, tasks * i // pieces, tasks * (i + 1) // pieces)

    others = [_pool().submit(take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        for other in others:
            other.result()


_one_at_a_time = threading.Lock()  # threads that wait for one another must all be running


def together(loop: Callable[..., None], threads: int, arrived: np.ndarray, *args: Any) -> None:
    """loop(*args, arrived, thread, threads) by all threads at once; `arrived` counts those who came to a meeting."""
    threads = min(threads, WORKERS + 1)  # more would wait for each other without ever starting
    with _one_at_a_time:
        arrived[:] = 0
        others = [_pool().submit(loop, *args, arrived, i, threads) for i in range(1, threads)]
        try:
            loop(*args, arrived, 0, threads)
        except BaseException:  # stopped before it began: nobody may wait for this thread
            arrived[:] = np.iinfo(arrived.dtype).max // 2
            raise
        finally:
            for other in others:
                other.result()


def flat(x: Tensor) -> tuple[np.ndarray, tuple[int, ...]]:
    """The memory of x as one row, and the strides of all axes but the last, which is contiguous."""
    if x.stride(-1) != 1 and x.shape[-1] != 1:
        x = x.contiguous()
    size = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride())) if x.numel() else 0
    return array(x.detach().as_strided((size,), (1,))), x.stride()[:-1]


def whole(x: Tensor, axes: int = 1) -> Tensor:
    """Zeros after the end of the last axes, up to whole vectors."""
    short = [-n % PAD for n in x.shape[: -axes - 1 : -1]]
    return F.pad(x, [n for s in short for n in (0, s)]) if any(short) else x


def array(x: Tensor) -> np.ndarray:
    """Its memory; bfloat16 as 16-bit words."""
    return (x.detach().view(torch.uint16) if x.dtype == torch.bfloat16 else x.detach()).numpy()


def line(x: Tensor) -> np.ndarray:
    """A contiguous tensor as one row."""
    return array(x.view(-1))


def read(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What the loops can load in this precision as it is, or a copy that they can."""
    return x if x.dtype == torch.bfloat16 and dtype == torch.float32 else x.to(dtype)


def marks(reset: Tensor | None) -> np.ndarray:
    """(B,T) bytes, or nothing at all."""
    return np.empty((0, 0), np.uint8) if reset is None else reset.contiguous().view(torch.uint8).numpy()
