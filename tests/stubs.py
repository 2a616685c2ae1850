"""What type checkers are shown of names that are loaded when they are asked for: `python -m tests.stubs` writes it.

blockyard/probe/__init__.pyi    the function of every probe, from its file
"""

from pathlib import Path

from blockyard.core import registry

PROBES = Path(registry.ROOT) / "probe" / "__init__.pyi"


def probes() -> str:
    """The stub of the room of probes."""
    names = [(name, f"{name}_probe") for name in registry.entries("probe")]
    lines = [f"from blockyard.probe.{name} import {function} as {function}" for name, function in sorted(names)]
    head = '"""The functions of probes, for type checkers; at run time each is loaded when it is asked for."""'
    return "\n".join([head, "", *lines]) + "\n"


if __name__ == "__main__":
    PROBES.write_text(probes(), encoding="utf-8")
