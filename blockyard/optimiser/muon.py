"""Momentum made orthogonal for the projections of the body, Adam for all else.

    m = 0.95 m + 0.05 g        O = N(0.95 m + 0.05 g)
    W = W (1 - rate decay / 4) - rate 0.2 sqrt(max(rows, columns)) O

N takes all singular values of a matrix to about 1, in five steps of Newton and Schulz. An entry of O has a mean square
of 1 / max(rows, columns), so that a step moves numbers about as far as one of Adam's does that is no longer young: both
have one rate and one schedule. The usual rates are larger than Adam's alone; the decay is as much smaller, so that as
much is taken away in a step.

    (rows, columns) that read and write inside the body    N
    tables, heads, norms, biases, vectors, stacks of matrices    Adam with decay, as `adamw`

Source   arXiv 2502.16982, 2409.20325
Family   optimisers
Differs  roles are read from named axes and records, not from names of parameters; queries, keys and values of one fused
         matrix are one matrix

Both steps are the framework's.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn, optim

from blockyard.core.settings import NonNegative, Positive
from blockyard.model.model import Model
from blockyard.optimiser._groups import decayed
from blockyard.optimiser._together import Together

rates = 4.0  # of a grid, in units of Adam's


def muon(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate of a step"] = 1e-3,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 4 takes away"] = 0.1,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    inside = body_projections(model)
    body = {name: p for name, p in params.items() if name in inside}
    rest = {name: p for name, p in params.items() if name not in inside}
    made: list[optim.Optimizer] = []
    if body:
        groups = decayed(model, body, decay / rates)
        made.append(optim.Muon(groups, lr=lr, momentum=0.95, adjust_lr_fn="match_rms_adamw"))
    if rest:
        made.append(optim.AdamW(decayed(model, rest, decay / rates), lr=lr, betas=(0.9, 0.95), eps=1e-8, fused=True))
    return Together(*made)


def held(model: Model, params: Mapping[str, Tensor], **_: Any) -> int:
    """Numbers that it keeps: one for each of a matrix of the body, two for each of the rest."""
    inside = body_projections(model)
    return sum((1 if name in inside else 2) * p.numel() for name, p in params.items())


def body_projections(model: Model) -> set[str]:
    """The paths of the matrices that read and write inside the body, where no axis is the vocabulary."""
    steps = [step for each in model.modules() if isinstance(each, Model) for step in each.steps]
    body = {id(p) for step in steps for p in step.parameters()}
    tables = [axis for path, axis in model.axes.items() if path.rpartition(".")[2] == "vocab"]
    held = dict(model.named_parameters())
    found = set[str]()
    for use in model.uses:
        projects = use.decay and use.reads is not None and use.writes is not None
        if not projects or use.of or use.path not in held or len(use.axes) != 2 or id(held[use.path]) not in body:
            continue
        if not any(leaf is table for axis in use.axes for leaf in axis.leaves() for table in tables):
            found.add(use.path)
    return found
