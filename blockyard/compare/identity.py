"""What names a run: everything that can change its figures, and nothing else. Only equal keys are ever reused."""

import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from blockyard.compare.documents import Job

NUMERICS = 8  # raised when figures may change for the same job
ASIDE = ("paths", "save_seconds", "lengths", "reach", "words", "init")  # of a job: where, when, what is scored besides


def key_of(job: Job) -> str:
    """Sixteen hexadecimal digits that name a run's figures."""
    aside = ASIDE if job.then else (*ASIDE, "then", "shown")
    facts = {name: value for name, value in job.to_json().items() if name not in aside}
    facts |= {"numerics": NUMERICS, "torch": torch.__version__, "machine": platform.machine(), "loops": loops()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def loops() -> str | None:
    """What runs the recurrences: an implementation that is forced, or the version of what compiles them.

    The last bits differ.
    """
    forced = os.environ.get("BLOCKYARD_KERNEL", "cpu")
    if forced not in ("", "cpu"):
        return forced
    try:
        return version("numba")
    except PackageNotFoundError:
        return None
