"""One training loop, checkpoints, precision.

`blockyard.train` is this package and, called, one run: `blockyard.train("gla", data="my.txt")`, or on from a model,
`blockyard.train(init="my-model", data="more.txt")`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class Training(ModuleType):
    """A module that can be called."""

    def __call__(self, target: str | None = None, **asked: Any) -> Any:
        """What `blockyard train` does: `compare/compare.py` `train_one` has the words, and its report is the answer."""
        # looked up by the call: a run is a comparison of one arm, and that room stands on this one
        return import_module("blockyard.compare.compare").train_one(target, **asked)


sys.modules[__name__].__class__ = Training
