"""Keep freed memory in the process: by default glibc gives it back after every step and pays for it again in faults.

What is larger than 32 MiB it maps anew at every request, whatever the thresholds say: at 16k tokens a layer's step took
one and a half to three times as long. Hence no mappings at all: every request is served from one heap.
"""

import ctypes
import sys

# mallopt's names: largest number of mappings, trim threshold, top pad, arenas
SETTINGS = ((-4, 0), (-1, 2**31 - 1), (-2, 1 << 26), (-8, 1))


def keep_memory() -> None:
    """For a process whose life is running models; elsewhere than glibc nothing happens."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
            for name, value in SETTINGS:
                libc.mallopt(name, value)
