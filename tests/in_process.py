"""A pool without processes: the same runs, one after another, in the process of the test.

A worker costs seconds of imports, and most tests ask what a comparison finds, not who does its runs. Tests of workers
start the command as users do or take the pool itself; a comparison by workers is held to the bits of one without.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from blockyard.compare.documents import BenchOrder
from blockyard.compare.run.pool import Heard
from blockyard.compare.run.worker import handle
from blockyard.core.document import Document, Json


class InProcess:
    """What `Pool` does, for `count` workers that are one; speeds are measured in one round."""

    def __init__(self, count: int, threads: int) -> None:
        self.count = 1

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, orders: Iterable[Document], heard: Heard) -> Iterator[tuple[int, Json]]:
        for number, order in enumerate(orders):
            order = replace(order, rounds=1) if isinstance(order, BenchOrder) else order
            answer = handle(json.loads(json.dumps(order.to_json())), lambda message, n=number: heard(n, message))
            yield number, json.loads(json.dumps(answer))
