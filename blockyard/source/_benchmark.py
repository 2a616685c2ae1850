"""What sources share that read a file of the folder of benchmark data: it is named by BLOCKYARD_DATA."""

import os
from pathlib import Path

from blockyard.core.errors import UsageError

FOLDER, USUAL = "BLOCKYARD_DATA", "../shared/data"


def benchmark(name: str, origin: str) -> Path:
    """The path of a file below that folder; a `UsageError` says where it can be had, where it is not there."""
    path = Path(os.environ.get(FOLDER, USUAL)) / name
    if not path.is_file():
        raise UsageError(
            f"there is no {path}; get it from {origin} and set {FOLDER} to the folder that holds "
            f"{name.partition('/')[0]}/"
        )
    return path
