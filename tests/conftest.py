"""What all tests share: one thread (many workers run side by side) and no leftovers between them."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from blockyard.core.files import cache_root
from tests.in_process import InProcess

if (_root := cache_root()) is not None:  # compiled loops stay where they are when a test names another cache
    os.environ.setdefault("NUMBA_CACHE_DIR", str(_root))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
    yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    yield


@pytest.fixture
def heeds_ctrl_c():
    """A test and the programs it starts heed ctrl-C, also where a shell runs them in the background, ignoring it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _in_process(monkeypatch):
    """Comparisons that a test makes run in its own process: see tests/in_process.py."""
    monkeypatch.setattr("blockyard.compare.compare.Pool", InProcess)
