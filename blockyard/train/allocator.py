"""Keep freed memory in the process: by default glibc gives it back after every step and pays for it again in faults."""

import ctypes
import ctypes.util
import sys

# mallopt's names: mmap threshold, trim threshold, top pad, arenas
SETTINGS = ((-3, 1 << 25), (-1, 2**31 - 1), (-2, 1 << 26), (-8, 1))


def keep_memory() -> None:
    """For a process whose life is running models; elsewhere than glibc nothing happens."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
            for name, value in SETTINGS:
                libc.mallopt(name, value)
