"""Runs on the machines of a Ray cluster: the same orders and the same answers as from processes of this machine.

    RAY_ADDRESS set, or Ray begun already    that cluster        else    one of this machine, while it takes

What is assumed of the machines is checked by every run before it begins: they see the folder of the comparison at the
same path, and whatever can change a figure is there what it is here. Checkpoints lie in the folder, so that a run whose
machine is gone goes on on another one; what had finished is not done again.
"""

import json
import os
import platform
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from blockyard.compare.documents import RunOrder
from blockyard.compare.identity import key_of
from blockyard.compare.run.pool import Heard
from blockyard.core import child
from blockyard.core.document import Document, Json
from blockyard.core.errors import UsageError, WorkFailed

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_TRAIN_V2_ENABLED": "0"}
EVERY = 0.2  # seconds between two looks at what the runs say


def cluster(device: str) -> Callable[[int, int], "Cluster"]:
    """What makes a cluster's workers for runs on this kind of device; UsageError where Ray is not installed."""
    if find_spec("ray") is None:
        raise UsageError("--engine ray needs a library: pip install 'blockyard[ray]'")
    return partial(Cluster, device=device)


class Cluster:
    """As many workers as a cluster has room for; a run whose machine or process dies gets one more try."""

    def __init__(self, count: int, threads: int, device: str = "cpu") -> None:
        os.environ.update(QUIET)
        self.here, self.threads, self.device = count, threads, device
        self.begun = False

    def __enter__(self) -> "Cluster":
        ray = self.ray = import_module("ray")
        if not ray.is_initialized():
            room = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": self.here * self.threads, "address": "local"}
            try:
                ray.init(log_to_driver=False, include_dashboard=False if room else None, **room)
            except (ConnectionError, ValueError, RuntimeError) as error:
                first = str(error).strip().splitlines()[0]
                raise UsageError(f"--engine ray: no cluster at {os.environ.get('RAY_ADDRESS')}: {first}") from None
            self.begun = True
        held = ray.cluster_resources()
        what, each = ("GPU", 1) if self.device.startswith("cuda") else ("CPU", self.threads)
        self.count = int(held.get(what, 0)) // each
        if self.count < 1:
            self.__exit__()
            raise UsageError(f"--engine ray: no machine of the cluster has {each} {what} for a run")
        self.needs = {"num_gpus": 1, "num_cpus": 1} if what == "GPU" else {"num_cpus": each}
        return self

    def __exit__(self, *_: object) -> None:
        if self.begun:
            self.ray.shutdown()
            self.begun = False

    def run(self, orders: Iterable[Document], heard: Heard) -> Iterator[tuple[int, Json]]:
        """(number of the order, its answer) as they come; `heard(number, message)` is told what is said on the way."""
        ray, post = self.ray, self._post()
        work = ray.remote(max_retries=0, max_calls=0, **self.needs)(_work)
        told = {number: json.loads(json.dumps(order.to_json())) for number, order in enumerate(orders)}
        doing = {work.remote(number, order, self.threads, os.getcwd(), post): number for number, order in told.items()}
        tried: set[int] = set()
        try:
            while doing:
                ended, _ = ray.wait(list(doing), num_returns=1, timeout=EVERY)
                for number, message in ray.get(post.take.remote()):
                    if number in doing.values():
                        heard(number, message)
                for ref in ended:
                    number = doing.pop(ref)
                    answer = self._answer(ref, number, tried)
                    if answer is None:
                        doing[work.remote(number, told[number], self.threads, os.getcwd(), post)] = number
                    else:
                        yield number, answer
        finally:
            for ref in doing:
                with suppress(ray.exceptions.RayError):
                    ray.cancel(ref, force=True)
            ray.kill(post)

    def _post(self) -> Any:
        """Where runs leave what they say: on this machine, which is there as long as anybody listens."""
        strategy = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        here = strategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        return self.ray.remote(num_cpus=0, scheduling_strategy=here)(_Post).remote()

    def _answer(self, ref: Any, number: int, tried: set[int]) -> Json | None:
        """What came of an order; None where its process or machine is gone for the first time."""
        try:
            message = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:  # it could not even begin: blockyard is not there, say
            raise WorkFailed(str(error)) from None
        except self.ray.exceptions.RayError as error:
            if number in tried:
                first = str(error).strip().splitlines()[0]
                raise WorkFailed(f"a worker died twice on the same run ({first}); is there enough memory?") from None
            tried.add(number)
            return None
        if error := child.failure(message):
            raise error
        return message["done"]


class _Post:
    """Messages of runs, until somebody takes them."""

    def __init__(self) -> None:
        self.held: list[tuple[int, Json]] = []

    def put(self, number: int, message: Json) -> None:
        self.held.append((number, message))

    def take(self) -> list[tuple[int, Json]]:
        held, self.held = self.held, []
        return held


def _work(number: int, order: Json, threads: int, where: str, post: Any) -> Json:
    """In a process of the cluster: do an order, as a worker does that was started in the folder `where`."""
    import torch

    from blockyard.compare.run.worker import handle
    from blockyard.train.allocator import keep_memory

    torch.set_num_threads(threads)
    keep_memory()
    try:
        with suppress(OSError):
            os.chdir(where)
        _check(order)
        return {"done": handle(order, lambda message: post.put.remote(number, message))}
    except UsageError as error:
        return {"error": str(error), "usage": True}
    except Exception:
        return {"error": traceback.format_exc(), "usage": False}


def _check(order: Json) -> None:
    """Refuse a machine that does not see the folder, or on which figures would be others."""
    if order["do"] != "run":
        return
    run = RunOrder.from_json(order, "an order")
    folder, key = Path(run.folder), key_of(run.job)
    if not (folder.parent.parent / "plan.json").exists():
        raise UsageError(f"{platform.node()} does not see {folder.parent.parent}; --engine ray needs a folder of all "
                         "machines, for --out")  # fmt: skip
    if key != folder.name:
        raise UsageError(f"{platform.node()} has another torch, numba or kind of machine, and so other figures")
