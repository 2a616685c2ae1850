"""The processes that torchrun started, as the ones that do the runs: each run is done by all of them together.

    torchrun --nproc-per-node 2 -m blockyard train llama --data my.txt --out my-model

The first one leads: it plans, keeps the folder and speaks, and tells the others every order. They do the training of it
with their rows, and nothing else.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from blockyard.compare.documents import BenchOrder, RunOrder
from blockyard.compare.plan.dataset import named
from blockyard.compare.run.job import train_along
from blockyard.compare.run.pool import Heard
from blockyard.compare.run.speed import bench
from blockyard.compare.run.worker import handle
from blockyard.core.document import Document, Json
from blockyard.core.errors import UsageError
from blockyard.train.allocator import keep_memory
from blockyard.train.spread import Together

WAIT = 20  # seconds that others wait for the first one to say what is wrong, before they end


class Ranks:
    """What `Pool` is, where all processes do one order after another together."""

    count = 1

    def __init__(self, all_of: Together, count: int, threads: int) -> None:
        self.threads, self.all = count * threads, all_of

    def __enter__(self) -> "Ranks":
        _ready(self.threads)
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None:  # others hear of a failure by our end
            self.all.told(None)

    def run(self, orders: Iterable[Document], heard: Heard) -> Iterator[tuple[int, Json]]:
        """(number of the order, its answer) as they come; `heard(number, message)` is told what is said on the way."""
        for number, order in enumerate(orders):
            said = json.loads(json.dumps(order.to_json()))
            self.all.told({"order": said, "threads": self.threads})
            answer = handle(said, lambda message, number=number: heard(number, message))
            yield number, json.loads(json.dumps(answer))


def follow(all_of: Together) -> None:
    """As one that does not lead: train along until there are no more orders. Ends the process where that fails."""
    try:
        while (said := _order(all_of)) is not None:
            _ready(said["threads"])
            order = said["order"]
            if order["do"] == "run":
                run = RunOrder.from_json(order, "an order")
                train_along(run.job, named(run.job.choice), Path(run.folder))
            else:
                asked = BenchOrder.from_json(order, "an order")
                bench(asked.jobs, asked.rounds)
    except UsageError:  # the first one says the same
        time.sleep(WAIT)
        raise SystemExit(2) from None


def _order(all_of: Together) -> Json | None:
    try:
        return all_of.told(None)
    except RuntimeError:  # the first one is gone, and has said why
        raise SystemExit(2) from None


def _ready(threads: int) -> None:
    """As a worker is: with its share of the threads of this machine, and memory that is kept."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, threads // beside))
    keep_memory()
