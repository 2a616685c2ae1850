"""An architecture as a picture: its steps with shapes and parameters, two side by side, or the inside of one part."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockyard.cli._grammar import Answer

EXAMPLE = "blockyard draw llama gla --out llama-gla.svg"


def options(add: Callable[..., Any]) -> None:
    add("recipe", nargs="+", metavar="RECIPE", help="a recipe, or two to be held side by side")
    add("--size", default="tiny", help="a size that the recipes name (tiny)")
    add("--inside", metavar="PATH", help="draw the wires and boxes of one part, such as steps.0.part; `.` for all")
    add("--out", metavar="FILE", help="the SVG to write; without it only words are printed")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.core import UsageError
    from blockyard.core.files import write_whole
    from blockyard.diagram.outline import lines, outline, sketch
    from blockyard.diagram.picture import picture
    from blockyard.diagram.text import listing
    from blockyard.diagram.trace import diagram
    from blockyard.model.count import on_meta
    from blockyard.model.model import build
    from blockyard.systems import parse_target, spec

    if len(options.recipe) > 2:
        raise UsageError("one recipe is drawn, or two side by side")
    targets = [parse_target(text) for text in options.recipe]
    specs = [(label, spec(name, options.size, **overrides)) for label, name, overrides in targets]
    if options.inside is None:
        models = [(name, on_meta(spec)) for name, spec in specs]
        drawn = sketch(models) if options.out else ""
        facts: Any = [{"name": name, "rows": [vars(row) for row in outline(model)]} for name, model in models]
        said = "\n\n".join(lines(name, model) for name, model in models)
    else:
        if len(specs) > 1:
            raise UsageError("the inside of one recipe's part is drawn; name one recipe")
        path = options.inside.strip(".")
        found = diagram(build(specs[0][1]), path)
        drawn = picture(found, f"{specs[0][0]}  {path}".strip()) if options.out else ""
        said = listing(found)
        facts = {
            "sizes": found.sizes, "wires": found.wires, "parameters": found.parameters(),
            "multiply_adds": found.multiply_adds(), "largest_cut": found.cut(),
        }  # fmt: skip
    if options.out:
        if Path(options.out).suffix != ".svg":
            raise UsageError(f"{options.out} would be an SVG; name it so")
        write_whole(Path(options.out), drawn.encode())
        said += f"\n\nwritten to {options.out}"
    return facts, said
