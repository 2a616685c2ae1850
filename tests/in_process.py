"""A pool without processes: the same runs, one after another, in the process of the test.

A worker costs seconds of imports, and most tests ask what a comparison finds, not who does its runs. Tests of workers
start the command as users do or take the pool itself; a comparison by workers is held to the bits of one without.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from blockyard.compare.run.job import run_job
from blockyard.compare.run.speed import bench


class InProcess:
    """What `Pool` does, for `count` workers that are one; speeds are measured in one round."""

    def __init__(self, count: int, threads: int) -> None:
        self.count = 1

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, orders: Iterable[dict[str, Any]], heard: Callable[[int, Any], None]) -> Iterator[tuple[int, Any]]:
        for number, order in enumerate(orders):
            order = json.loads(json.dumps(order))

            def tell(message: dict[str, Any], number: int = number) -> None:
                heard(number, message)

            if order["do"] == "run":
                answer = run_job(order["job"], Path(order["folder"]), tell)
            else:
                answer = bench(order["jobs"], 1, tell)
            yield number, json.loads(json.dumps(answer))
