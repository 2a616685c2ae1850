"""The main job: which architecture, on this data and budget, and how sure are we.

`blockyard.compare` is this package and, called, the comparison itself: `blockyard.compare(["llama", "gla"])`.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockyard.compare.compare import compare


class Comparison(ModuleType):
    """A module that can be called."""

    if TYPE_CHECKING:
        __call__ = staticmethod(compare)
    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            from blockyard.compare.compare import compare

            return compare(*args, **kwargs)


sys.modules[__name__].__class__ = Comparison
