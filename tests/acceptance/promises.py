"""What a plan promises against what it takes: three small comparisons, one to two minutes each on two quiet cores.

    python -m tests.acceptance.promises [FOLDER]     promised / taken, by the dry run and by the run's own bench

Taken is the wall-clock of the whole call: planning, references, start of workers, bench, tuning, training, scoring.
A machine that does other work makes every ratio mean nothing: run it alone. Within 25% is 0.75 to 1.25.
"""

import math
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from pydoc_data.topics import topics
from shutil import rmtree

import blockyard as by
from blockyard.compare.plan.plan import estimate
from blockyard.compare.run.store import read_plan
from blockyard.core.files import write_whole

ASKED = {"params": "200k", "tokens": "200k", "seeds": 2}
ARMS = {
    "recurrent": (["gla", "gated_deltanet"], "topics.txt", ASKED),
    "attention": (["llama", "gpt2"], "topics.txt", ASKED),
    "series": (["nlinear", "patchtst"], "waves.csv", {"params": "60k", "seeds": 2}),
}


def data(folder: Path) -> None:
    """A text that every Python carries, and two waves as a series."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "topics.txt", "\n\n".join(topics[name] for name in sorted(topics)).encode())
    hours = [datetime(2020, 1, 1) + timedelta(hours=t) for t in range(8000)]
    rows = [f"{hour},{math.sin(0.26 * t):.5f},{math.cos(0.037 * t):.5f}" for t, hour in enumerate(hours)]
    write_whole(folder / "waves.csv", ("date,a,b\n" + "\n".join(rows) + "\n").encode())


def main(folder: Path) -> None:
    data(folder)
    for name, (arms, file, asked) in ARMS.items():
        out = folder / name
        rmtree(out, ignore_errors=True)  # finished runs would be read, not done
        looked = by.compare(arms, data=str(folder / file), quiet=True, dry_run=True, **asked)
        began = time.perf_counter()
        by.compare(arms, data=str(folder / file), out=out, quiet=True, **asked)
        taken = time.perf_counter() - began
        planned = read_plan(out)
        assert planned is not None
        first, own = (estimate(plan) / taken for plan in (looked, planned))
        print(f"{name:10} taken {taken:6.1f} s   dry run {first:.2f}   bench {own:.2f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else "build/promises"))
