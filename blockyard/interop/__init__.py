"""Models from other libraries, read by name maps that are data; nothing of theirs is imported or unpickled."""

from blockyard.interop.folder import from_transformers, load

__all__ = ["from_transformers", "load"]
