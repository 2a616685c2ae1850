"""Models from and for other libraries, by name maps that are data; nothing of theirs is unpickled or run to read it."""

from blockyard.interop.export import export
from blockyard.interop.folder import from_transformers, load, load_peft, save_peft

__all__ = ["export", "from_transformers", "load", "load_peft", "save_peft"]
