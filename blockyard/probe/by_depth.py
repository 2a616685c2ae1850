"""How do the stream, the gradient and the attention look, step by step?

    PATH:stream      sqrt(mean x^2)               x: the stream behind the step, over tokens and width
    PATH:massive     max |x| / median |x|         a few hundred or more: massive activations
    PATH:entropy     - mean sum_s A_ts log A_ts   nats, over heads and tokens, of a step that attends
    PATH:gradient    sqrt(sum g^2)                g: the gradients that the step's own parameters have now

Gradients are those that a training step has left behind; a model that has none gets no such figure. Of a step that runs
several times the stream is that of its first run.

Source   arXiv 2402.17762, 2303.06296
Family   probes
Differs  the median is over all numbers of the stream, not over those of one token
"""

from typing import Annotated, Any

import numpy as np
import torch

from blockyard.core.settings import Count
from blockyard.probe._read import Arrays, batch_of
from blockyard.probe.attention_entropy import entropies, weight_points


@torch.no_grad()
def by_depth_probe(model: Any, data: Any, *, rows: Annotated[Count, "rows that are looked at"] = 4) -> Arrays:
    """One number each, for every step, of the first rows of ids (n,L) or of a batch: `steps.0.part:stream`."""
    few = batch_of(model, data).rows(slice(0, rows))
    squares, found = _squares(model), {}
    flow = model.start(few, points=weight_points(model))
    for step, unit in enumerate(model.steps):
        flow, path = model.run(flow, [step]), unit.part.path
        entropy = entropies(flow)
        flow = flow._replace(captures={})  # of the steps before
        size = flow.x.double().abs()
        found[f"{path}:stream"] = size.square().mean().sqrt()
        found[f"{path}:massive"] = size.max() / size.median()
        if path in entropy:
            found[f"{path}:entropy"] = entropy[path].mean()
        own = [square for name, square in squares.items() if name.startswith(path.rpartition(".")[0] + ".")]
        if own:
            found[f"{path}:gradient"] = torch.stack(own).sum().sqrt()
    return {name: np.array(float(value)) for name, value in found.items()}


def _squares(model: Any) -> dict[str, torch.Tensor]:
    """The sum of the squares of every gradient there is, by the path of its parameter."""
    named = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    if not named:
        return {}
    sizes = [grad.norm() for _, grad in named]
    return {name: size.double().square() for (name, _), size in zip(named, sizes)}
