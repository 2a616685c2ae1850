"""Optimisers of the library `pytorch-optimizer`: what of them is kept between steps becomes tensors of a parameter.

A run goes on from what stands beside each parameter in `state`, tensors by name. These optimisers count in groups and
keep lists of matrices: with a group for each parameter its counts are that parameter's, and both are written there
behind every step and read back before the next.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch
from torch import optim

from blockyard.core import registry
from blockyard.systems import require_package

COUNT = "count."  # in front of the name of what a group counts


def library(name: str) -> Any:
    """The library, for the optimiser of this name; a UsageError says how to get it."""
    entry = registry.find("optimiser", name)
    require_package(entry)
    return import_module(entry.constant("package"))


def alone(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same groups with one parameter each."""
    return [group | {"params": [p]} for group in groups for p in group["params"]]


def carried(made: optim.Optimizer, counts: tuple[str, ...], copied: tuple[str, ...] = ()) -> optim.Optimizer:
    """The optimiser, of groups of one parameter, with all that it keeps as tensors beside the parameter.

    counts   what its groups count, `step` first          copied   settings of a group that it notes beside a parameter
    """
    first = {name: made.defaults[name] for name in counts if name in made.defaults}

    def before(rule: optim.Optimizer, *_: Any) -> None:
        for group in rule.param_groups:
            _opened(group, rule.state[group["params"][0]], counts, copied)

    def after(rule: optim.Optimizer, *_: Any) -> None:
        for group in rule.param_groups:
            kept = rule.state[group["params"][0]]
            if kept:
                _closed(group, kept, counts, copied)
            else:  # a parameter that had no gradient yet has not begun
                del group["step"]
                group.update(first)

    made.register_step_pre_hook(before)
    made.register_step_post_hook(after)
    return made


def _opened(group: dict[str, Any], kept: dict[str, Any], counts: tuple[str, ...], copied: tuple[str, ...]) -> None:
    """Counts and lists as the optimiser has them; a group that has counted itself knows better than its copy."""
    told = {name: kept.pop(COUNT + name) for name in counts if COUNT + name in kept}
    if "step" not in group:
        group.update({name: value.item() for name, value in told.items()})
    if kept:
        kept.update({name: group[name] for name in copied})
    for key in sorted((key for key in kept if "." in key), key=lambda key: int(key.partition(".")[2])):
        kept.setdefault(key.partition(".")[0], []).append(kept.pop(key))


def _closed(group: dict[str, Any], kept: dict[str, Any], counts: tuple[str, ...], copied: tuple[str, ...]) -> None:
    """Counts and lists as tensors; an empty place of a list is an empty tensor."""
    for name in copied:
        del kept[name]
    for key in [key for key, value in kept.items() if isinstance(value, list)]:
        for place, value in enumerate(kept.pop(key)):
            made = value if isinstance(value, torch.Tensor) else torch.empty(0)
            kept[f"{key}.{place}"] = made.contiguous()  # as a file has it: with other strides products round otherwise
    for name in counts:
        kept[COUNT + name] = torch.tensor(group[name], dtype=torch.int64 if name == "step" else torch.float64)
