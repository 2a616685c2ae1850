"""blockyard: a workbench for the Transformer family.

    import blockyard as by
    model = by.build("llama", size="tiny")
    out = model(tokens)                         # out.logits, out.hidden, out.state
    result = by.compare(["llama", "gla"], params="200k", tokens="200k")

Everything is loaded when first asked for, so that an import costs next to nothing.
"""

import os
from importlib import import_module
from typing import Any

# the framework keeps what it compiled for a shape, 1,024 of them: every new length of a prompt has some
for _name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")

__version__ = "0.1.0"

_HOME = {
    "build": "blockyard.systems", "recipes": "blockyard.systems", "spec": "blockyard.systems",
    "scaling": "blockyard.compare.judge.surface", "take": "blockyard.transform.take",
    "quantise": "blockyard.transform.quantise", "make": "blockyard.model.model",
    "Model": "blockyard.model.model", "Out": "blockyard.model.model",
    "load": "blockyard.interop", "count": "blockyard.model.count", "exact": "blockyard.kernels",
    "Batch": "blockyard.core.batch", "State": "blockyard.core.state", "UsageError": "blockyard.core.errors",
    "Spec": "blockyard.core.spec", "generate": "blockyard.decode.generate", "Rules": "blockyard.decode.rules",
    "beams": "blockyard.decode.beams", "speculate": "blockyard.decode.speculate",
    "PrefixStore": "blockyard.decode.prefix", "SamplingParams": "blockyard.decode.rules",
}  # fmt: skip
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name == "compare":
        return import_module("blockyard.compare")
    if name not in _HOME:
        raise AttributeError(f"module 'blockyard' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
