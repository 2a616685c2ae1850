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

_HOME = {  # __init__.pyi says the same to type checkers
    "build": "blockyard.systems", "recipes": "blockyard.systems", "spec": "blockyard.systems",
    "train_one": "blockyard.compare.compare",
    "judge": "blockyard.compare.verdict", "scaling": "blockyard.compare.judge.surface",
    "take": "blockyard.transform.take", "forecast": "blockyard.saved.forecast",
    "predict": "blockyard.saved.predict",
    "quantise": "blockyard.transform.quantise", "make": "blockyard.model.model",
    "Model": "blockyard.model.model", "Out": "blockyard.model.model",
    "save_attachment": "blockyard.model.attachment", "load_attachment": "blockyard.model.attachment",
    "load": "blockyard.interop", "export": "blockyard.interop", "load_peft": "blockyard.interop",
    "save_peft": "blockyard.interop",
    "merge": "blockyard.blend", "adapt": "blockyard.saved.adapt", "evaluate": "blockyard.saved.evaluate",
    "shrink": "blockyard.saved.shrink",
    "judge_models": "blockyard.saved.versus", "run_tasks": "blockyard.saved.tasks",
    "EvalSettings": "blockyard.saved.tasks",
    "count": "blockyard.model.count", "exact": "blockyard.kernels",
    "Batch": "blockyard.core.batch", "State": "blockyard.core.state", "UsageError": "blockyard.core.errors",
    "Spec": "blockyard.core.spec", "generate": "blockyard.decode.generate", "beams": "blockyard.decode.beams",
    "speculate": "blockyard.decode.speculate", "PrefixStore": "blockyard.decode.prefix",
    "SamplingParams": "blockyard.decode.rules", "Draft": "blockyard.decoder.draft",
    "tokenizer": "blockyard.interop.tokenizer", "chat_prompt": "blockyard.interop.tokenizer",
    "text_files": "blockyard.interop.tokenizer",
    "PromptLookup": "blockyard.decoder.prompt_lookup", "SelfSpeculative": "blockyard.decoder.self_speculative",
}  # fmt: skip
_BEFORE = {"Rules": "blockyard.decode.rules"}  # old names, understood with a warning by their home
_ROOMS = ("compare", "referee")  # packages that are used as they are
__all__ = [*_ROOMS, *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"blockyard.{name}")
    home = _HOME.get(name) or _BEFORE.get(name)
    if home is None:
        raise AttributeError(f"module 'blockyard' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
