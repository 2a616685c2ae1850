"""Read-only looks inside a model: (model, data, controls) -> {name: array}; the weights stay as they are.

    from blockyard.probe import state_probe
    state_probe(model, tokens)["steps.0.part:horizon"]      what a recurrent memory keeps, and for how long

`blockyard list probe` names them all. A probe is one file, and its function is called by it: `state_probe` of
`state.py`, or of an entry point. Arrays are of numpy, in single or double precision.
"""

from typing import Any

from blockyard.core import registry

SUFFIX = "_probe"


def __getattr__(name: str) -> Any:
    """The function of a probe, loaded when it is asked for; `__all__`: the names of all."""
    if name == "__all__":
        return [f"{each}{SUFFIX}" for each in registry.entries("probe")]
    short = name.removesuffix(SUFFIX)
    if short == name or short not in registry.entries("probe"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return registry.find("probe", short).load_named()


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
