"""The main job: which architecture, on this data and budget, and how sure are we.

`blockyard.compare` is this package and, called, the comparison itself: `blockyard.compare(["llama", "gla"])`. With
several sizes, `params="100k,300k,1M"`, it is `blockyard.compare.sizes.run.compare_sizes`, and its answer a SizesReport.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from blockyard.compare.documents import Plan, Report


class Comparison(ModuleType):
    """A module that can be called."""

    if TYPE_CHECKING:  # the signature of compare/compare.py, and what each call answers

        @overload
        def __call__(
            self, targets: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path | None = None,
            dry_run: Literal[False] = False, quiet: bool = False, overrides: dict[str, Any] | None = None,
            save_seconds: float = 20.0, log: str | Sequence[str] = (), index: str | None = None,
            engine: str = "processes", **asked: Any,
        ) -> Report: ...  # fmt: skip

        @overload
        def __call__(
            self, targets: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path | None = None,
            dry_run: Literal[True], quiet: bool = False, overrides: dict[str, Any] | None = None,
            save_seconds: float = 20.0, log: str | Sequence[str] = (), index: str | None = None,
            engine: str = "processes", **asked: Any,
        ) -> Plan: ...  # fmt: skip

        @overload
        def __call__(
            self, targets: Sequence[str], *, data: str | Sequence[str] = (), out: str | Path | None = None,
            dry_run: bool, quiet: bool = False, overrides: dict[str, Any] | None = None,
            save_seconds: float = 20.0, log: str | Sequence[str] = (), index: str | None = None,
            engine: str = "processes", **asked: Any,
        ) -> Report | Plan: ...  # fmt: skip

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from blockyard.compare.compare import compare
        from blockyard.compare.sizes.run import compare_sizes, is_several

        if is_several(kwargs):
            return compare_sizes(*args, **kwargs)
        return compare(*args, **kwargs)


sys.modules[__name__].__class__ = Comparison
