"""The recorder is a module of the checkout, `tests.record`: found also where pytest was not started as a module."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
