"""AdamW whose rates follow from a narrow model: what is best at the base width is best at any.

    a matrix whose inputs grow with the width    rate * base / width,  decay * width / base
    all else: tables, norms, biases, gates, matrices that read a fixed number    rate

An axis grows with the width where it is twice as long in the same model of twice the width. First numbers of matrices
fall with the root of their inputs in any case; a table wants one spread for all widths (`stem.std`), and a head that is
tied to it a factor of base / width (`head.scale`): the recipe `mup` has both.

Source   arXiv 2203.03466, 2402.17457    Slug  mup-lr-transfer
Family   optimisers
Differs  roles are read from named axes, not from the shapes of a second model
"""

from typing import Annotated

import torch
from torch import nn, optim

from blockyard.core.axis import Expr
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, NonNegative, Positive
from blockyard.model.model import Model, build
from blockyard.optimiser._groups import decayed

shards = True  # a step of a number needs that number alone


def mup(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate at the base width"] = 1e-3,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 1 takes away"] = 0.1,
    base: Annotated[Count, "the width at which it is AdamW"] = 64,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    wide, ratio = reads_width(model), base / model.stream.size
    factors = {name: ratio if name in wide else 1.0 for name in params}
    return optim.AdamW(decayed(model, params, decay, factors), lr=lr, betas=(0.9, 0.95), eps=1e-8, fused=True)


def reads_width(model: Model) -> set[str]:
    """The paths of the matrices whose inputs grow with the width of the stream."""
    if model.towers:
        raise UsageError("mup: a model with towers has more than one width")
    try:
        with torch.device("meta"):
            wide = build(model.spec.but(dim=2 * model.spec["dim"]))
    except UsageError as error:
        raise UsageError(f"mup: roles are read from the same model of twice the width: {error}") from None
    of_wide = {use.path: use for use in wide.uses}
    own = [use for use in model.uses if not use.of]
    return {use.path for use in own if _size(of_wide[use.path].reads) > _size(use.reads)}


def _size(reads: Expr | None) -> int:
    return 0 if reads is None else reads.size
