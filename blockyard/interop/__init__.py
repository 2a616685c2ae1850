"""Models from other libraries, read by name maps that are data; nothing of theirs is imported or unpickled."""

from blockyard.interop.folder import from_transformers, load, load_peft, save_peft

__all__ = ["from_transformers", "load", "load_peft", "save_peft"]
