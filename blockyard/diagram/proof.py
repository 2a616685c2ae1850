"""Does a diagram say what its module does? Both are run on the same input, and both are counted.

    held = proof(model, "steps.0.part")     held.difference, held.counted == held.said

The module's operations are counted as the framework runs them; what the diagram keeps as one box counts by its own
formula on both sides.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from blockyard.core.batch import Batch
from blockyard.diagram.diagram import Diagram
from blockyard.diagram.trace import diagram
from blockyard.kernels.dispatch import force, watched
from blockyard.model.model import Model, Out


class Held(NamedTuple):
    """The largest difference of what comes out, and multiply-adds: as the framework counted, as the diagram says."""

    difference: float
    counted: int
    said: int
    diagram: Diagram


def proof(model: Model, path: str = "") -> Held:
    """Run and count a model, or its part at `path`, and its diagram, on the same made-up rows."""
    drawn = diagram(model, path)
    boxes, extra, seen = {box.name for box in drawn.boxes}, [0], []
    module = model.get_submodule(path)

    def op(name: str, run: Any, args: Any, kwargs: Any) -> Any:
        if name not in boxes:
            with watched(None):
                return run(*args, **kwargs)
        with _disable_current_modes(), watched(None):
            extra[0] += run.flops(*args, **kwargs) // 2
            return run(*args, **kwargs)

    def keep(_: Any, args: Any, out: Any) -> None:
        seen.append((args, out))

    hook = module.register_forward_hook(keep)
    rows = model.example(drawn.sizes["B"], drawn.sizes.get("T", 1), torch.Generator().manual_seed(1))  # not those read
    try:
        with torch.no_grad(), force("reference"):
            model(rows)
            (first, *rest), out = seen[0]
            with FlopCounterMode(display=False) as counter, watched(op):
                module(first, *rest)
    finally:
        hook.remove()
    given = [first.tokens, *first.more.values()] if isinstance(first, Batch) else [first]
    made = [*out.prediction.values()] if isinstance(out, Out) else [out if isinstance(out, Tensor) else out[0]]
    with torch.no_grad(), force("reference"):
        again = drawn(*given)
    pairs = zip(made, again if isinstance(again, tuple) else (again,))
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    return Held(difference, counter.get_total_flops() // 2 + extra[0], drawn.multiply_adds(), drawn)
