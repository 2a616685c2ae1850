"""A process that does runs: one library import for many of them.

An order is a RunOrder, which tells its Progress and Notices, a BenchOrder or a GlanceOrder; the only argument is how
many threads.
"""

import sys
from pathlib import Path

import torch

from blockyard.compare.documents import BenchAnswer, BenchOrder, Notice, Progress, RunOrder
from blockyard.compare.run.glance import GlanceAnswer, GlanceOrder, glance
from blockyard.compare.run.job import run_job
from blockyard.compare.run.speed import bench
from blockyard.core import child
from blockyard.core.document import Json
from blockyard.tracker._told import Told
from blockyard.train.allocator import keep_memory


def handle(order: Json, tell: child.Tell) -> Json:
    """Do what an order says."""
    if order["do"] == "run":
        run = RunOrder.from_json(order, "an order")
        told = Told(run.trackers, run.about, lambda *lost: tell(Notice(*lost).to_json()))
        result = run_job(run.job, Path(run.folder), lambda *step: tell(Progress(*step).to_json()), told)
        return result.to_json()
    if order["do"] == "glance":
        looked = GlanceOrder.from_json(order, "an order")
        return GlanceAnswer(glance(looked.jobs, looked.wholes)).to_json()
    asked = BenchOrder.from_json(order, "an order")
    return BenchAnswer(bench(asked.jobs, asked.rounds)).to_json()


def main() -> None:
    """Serve until there are no more orders."""
    torch.set_num_threads(int(sys.argv[1]))
    keep_memory()
    child.serve(handle)


if __name__ == "__main__":
    main()
