"""A process that does jobs: JSON lines in, JSON lines out, one library import for many runs.

    in    {"do": "run", "job": {...}, "folder": "..."}          or {"do": "bench", "jobs": [...], "rounds": 5}
    out   {"step", "loss"} while it runs, then {"done": {...}} or {"error": "...", "usage": true | false}

It ends when its input closes, and in the middle of a run when its parent is gone.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from blockyard.compare.run.job import run_job
from blockyard.compare.run.speed import bench
from blockyard.core.child import channel
from blockyard.core.errors import UsageError
from blockyard.train.allocator import keep_memory


def main() -> None:
    """Serve until the input closes."""
    orders, out = channel()
    torch.set_num_threads(int(sys.argv[1]))
    keep_memory()
    parent = os.getppid()

    def tell(message: dict[str, Any]) -> None:
        if os.getppid() != parent:
            os._exit(1)
        out.write(json.dumps(message) + "\n")
        out.flush()

    for line in orders:
        order = json.loads(line)
        try:
            if order["do"] == "run":
                tell({"done": run_job(order["job"], Path(order["folder"]), tell)})
            else:
                tell({"done": bench(order["jobs"], order["rounds"], tell)})
        except UsageError as error:
            tell({"error": str(error), "usage": True})
        except Exception:
            tell({"error": traceback.format_exc(), "usage": False})


if __name__ == "__main__":
    main()
