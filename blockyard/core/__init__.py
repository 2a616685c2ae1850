"""The contracts: specs, axes, sites, calls, states, parts. Names are loaded when first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Axis": "axis", "Cat": "axis", "Expr": "axis", "Prod": "axis",
    "Batch": "batch", "Call": "call", "upcast": "call", "widest_dtype": "call", "gather": "call", "scatter": "call",
    "UsageError": "errors", "Flow": "flow", "squares": "grid", "strided": "grid",
    "State": "state", "Cache": "state", "Constant": "state", "keep": "state", "leaf": "state", "sub": "state",
    "Corruption": "part", "Depth": "part", "Head": "part", "Junction": "part", "Linear": "part", "Objective": "part",
    "Part": "part", "Position": "part", "Residual": "part", "Router": "part", "Scaling": "part", "Stem": "part",
    "Store": "part", "Sublayer": "part",
    "Site": "site", "constant": "site", "normal": "site", "uniform_in": "site",
    "Spec": "spec",
    "distances": "visible", "max_distance": "visible", "update_cache": "visible", "visibility": "visible",
}  # fmt: skip
__all__ = list(_HOME)

if TYPE_CHECKING:
    from blockyard.core.axis import Axis, Cat, Expr, Prod
    from blockyard.core.batch import Batch
    from blockyard.core.call import Call, gather, scatter, upcast, widest_dtype
    from blockyard.core.errors import UsageError
    from blockyard.core.flow import Flow
    from blockyard.core.grid import squares, strided
    from blockyard.core.part import (
        Corruption,
        Depth,
        Head,
        Junction,
        Linear,
        Objective,
        Part,
        Position,
        Residual,
        Router,
        Scaling,
        Stem,
        Store,
        Sublayer,
    )
    from blockyard.core.site import Site, constant, normal, uniform_in
    from blockyard.core.spec import Spec
    from blockyard.core.state import Cache, Constant, State, keep, leaf, sub
    from blockyard.core.visible import distances, max_distance, update_cache, visibility


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(name)
    return getattr(import_module(f"blockyard.core.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *globals()})
