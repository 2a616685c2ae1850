"""What optimisers share: parameters in groups by what the factories recorded of them."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from blockyard.model.model import Model


def decayed(
    model: Model, params: Mapping[str, nn.Parameter], decay: float, factors: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Groups of parameters by their paths, for the framework: projections are decayed, in this order, the rest is not.

    factors   the rate of a parameter, in units of the run's; 1 where it is not named. Of a slower one as much is taken
              away in a step as of the others.
    """
    projections = {use.path for use in model.uses if use.decay and not use.of}
    made: dict[tuple[bool, float], dict[str, Any]] = {}
    for flag in (True, False):
        for name, p in params.items():
            if (name in projections) == flag:
                factor = (factors or {}).get(name, 1.0)
                usual = {"params": [], "weight_decay": decay / factor if flag else 0.0}
                group = made.setdefault((flag, factor), usual if factors is None else usual | {"factor": factor})
                group["params"].append(p)
    return list(made.values())
