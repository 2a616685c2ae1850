"""Old names, understood with a note until the next version: in specs, on folders, and in calls from Python."""

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from blockyard.core import registry

_TOLD: dict[Any, Any] = {}  # each once a process
F = TypeVar("F", bound=Callable[..., Any])


def _told(old: str, new: str) -> None:
    """Tell whoever used the old name, but for rooms of our own."""
    level, user = 1, __name__
    while user in ("blockyard", __name__):
        level, user = level + 1, sys._getframe(level).f_globals.get("__name__", "")
    if not user.startswith("blockyard."):
        warnings.warn(f"{old} is {new} now; the old name goes with the next version", DeprecationWarning, level)


def tell_new_name(old: str, new: str) -> None:
    """A warning of one line: no line of ours is to blame."""
    warnings.warn_explicit(f"{old} is called {new} now", UserWarning, "blockyard", 1, registry=_TOLD)


def attributes(module: str, moved: Mapping[str, str] = {}, /, **names: str) -> Callable[[str], Any]:
    """For `__getattr__` of a module: old=new. What moved is an entry by now, {name: KIND:NAME}, and needs no note."""

    def find(name: str) -> Any:
        if name in moved:
            return registry.find(*moved[name].split(":")).load_named()
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _told(name, names[name])
        return getattr(sys.modules[module], names[name])

    return find


def keywords(**names: str) -> Callable[[F], F]:
    """For a function or a method: old=new."""

    def understanding(function: F) -> F:
        @wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            for old in names.keys() & given.keys():
                _told(f"{old}=", f"{names[old]}=")
                given[names[old]] = given.pop(old)
            return function(*args, **given)

        return cast(F, call)

    return understanding
