"""The main job: which architecture, on this data and budget, and how sure are we.

`blockyard.compare` is this package and, called, the comparison itself: `blockyard.compare(["llama", "gla"])`.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from blockyard.compare.compare import compare

        return compare(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
