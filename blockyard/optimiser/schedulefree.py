"""Adam that averages what it went through instead of lowering its rate.

    y = 0.9 x + 0.1 z        z = z - rate (g(y) / sqrt(v') + decay / 2 y)        x = (1 - c) x + c z
    c = rate_max^2 / sum of rate_max^2        v = 0.95 v + 0.05 g^2, v' without its start at zero

The model holds y while it trains, and x once the run is done. The rate rises as in every schedule and then stays; the
best one is larger than that of Adam with a schedule, and the decay as much smaller.

Source   arXiv 2405.15682
Family   optimisers
Differs  decay falls on what the factories recorded as a projection, never on norms, biases, gates or tables

The step is that of pytorch-optimizer, which writes over gradients: it gets copies of them.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn, optim

from blockyard.core.settings import NonNegative, Positive
from blockyard.model.model import Model
from blockyard.optimiser._groups import decayed
from blockyard.optimiser._library import alone, carried, library

package = "pytorch_optimizer"
extra = "optimisers"
schedule = "constant"
rates = 2.0  # of a grid, in units of Adam's


def schedulefree(
    model: Model, params: dict[str, nn.Parameter], *, lr: Annotated[Positive, "the rate of a step"] = 2.5e-3,
    decay: Annotated[NonNegative, "how much of a projection a step of rate 2 takes away"] = 0.1,
) -> optim.Optimizer:  # fmt: skip
    """The optimiser of these parameters, by their paths in the model."""
    groups = alone(decayed(model, params, decay / rates))
    made = library("schedulefree").ScheduleFreeAdamW(groups, lr=lr, betas=(0.9, 0.95))
    seen: dict[nn.Parameter, Tensor] = {}

    def copy(rule: optim.Optimizer, *_: Any) -> None:
        for group in rule.param_groups:
            seen.update({p: p.grad for p in group["params"] if p.grad is not None})
        for p, grad in seen.items():
            p.grad = grad.clone()

    def put_back(rule: optim.Optimizer, *_: Any) -> None:
        for p, grad in seen.items():
            p.grad = grad
        seen.clear()

    made.register_step_pre_hook(copy)
    made.register_step_post_hook(put_back)
    return carried(made, ("step", "weight_sum", "lr_max"))


def held(model: Model, params: Mapping[str, Tensor], **_: Any) -> int:
    """Numbers that it keeps: two for each."""
    return 2 * sum(p.numel() for p in params.values())
