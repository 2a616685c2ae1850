"""Write a trained model in a form that other libraries read."""

import argparse
from collections.abc import Callable
from typing import Any

from blockyard.cli._grammar import MODEL, Answer

EXAMPLE = "blockyard export my-model --to transformers --out my-folder"


def options(add: Callable[..., Any]) -> None:
    add("model", help=MODEL)
    add("--to", required=True, help="transformers (a folder; transformers:llama for one family), gguf (a "
        "file for llama.cpp; gguf:q8_0, f16, bf16 or f32 for the kind of its numbers), torch (a .pt2 file) or onnx (a "
        "file); torch:128 and onnx:128 are for rows of 128 tokens")  # fmt: skip
    add("--out", required=True, help="the new folder or file")


def run(options: argparse.Namespace) -> Answer:
    from blockyard.interop import export

    done = export(options.model, to=options.to, out=options.out)
    return {"form": done.form, "out": done.out, **done.told}, str(done)
