"""What a recipe or a part is: equations, settings, claims; or what the model in a folder is."""

import argparse
import os
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import Answer

EXAMPLE = "blockyard show mixer:gla"


def options(add: Callable[..., Any]) -> None:
    add("name", help="a recipe, or kind:name of a part, a task or a study; or the folder of a model, or OUT:ARM")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.core import registry

    if options.name not in registry.entries("recipe") and _is_folder(options.name):
        from blockyard.saved.describe import describe

        found = describe(options.name)
        return found.to_json(), str(found)
    kind, colon, name = options.name.partition(":")
    entry = registry.find(kind, name) if colon else registry.find("recipe", options.name)
    facts: dict[str, Any] = {
        "kind": entry.kind, "name": entry.name, "doc": entry.doc, "settings": entry.schema,
        "schema": {"type": "object", "properties": {n: s.json_schema() for n, s in entry.settings.items()}},
        "tags": entry.tags, "claims": entry.constant("claims"),
        "points": entry.constant("points"), "known": entry.constant("known"),
        "sizes": entry.constant("sizes"),
    }  # fmt: skip
    lines = [f"{entry.kind}:{entry.name}", "", entry.doc.rstrip()]
    if entry.settings:
        lines += ["", "settings", *(f"  {name} = {entry.schema[name]}\n      {setting.meaning} ({setting.accepts})"
                                    for name, setting in entry.settings.items())]  # fmt: skip
    for key in ("claims", "known", "sizes"):
        if facts[key]:
            lines += ["", key, *(f"  {k} = {v}" for k, v in facts[key].items())]
    if facts["points"]:
        lines += ["", f"points  {', '.join(facts['points'])}"]
    return facts, "\n".join(lines)


def _is_folder(name: str) -> bool:
    """Whether this names a folder, or an arm of a comparison in one."""
    return os.path.isdir(name) or os.path.isdir(name.rpartition(":")[0])
