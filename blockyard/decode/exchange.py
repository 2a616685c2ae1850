"""What rows remember, from a model's state into the memory of a program and back.

    enter(builder, begin, state)                  the rows of a state become those from `begin` on
    left(builder, line, length, like) -> State    one row of the program as the model would have left it

A program keeps keys (rows,G,S/64,K,64), values (rows,G,S,K) and scales of codes (rows,G,2,S) of all positions, the
state of a model those that a later token may see.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from blockyard.core.state import Cache, Coded, State
from blockyard.decode.graph import Path, steps_of, within
from blockyard.kernels.program.builder import Builder

SLOTS = ("keys", "values", "scales")  # what has a place for every position


def enter(builder: Builder, begin: int, state: State) -> None:
    """What a prompt left, row by row."""
    lines = slice(begin, begin + len(state.length))
    for path, made in builder.states.items():
        leaves = within(state.leaves, path)
        for name, held in made.items():
            into = held[lines].zero_()
            if name in SLOTS:
                _enter(into, name, leaves, state)
            else:
                into.copy_((leaves.transpose(1, 2) if path in builder.turned else leaves).reshape(into.shape))


def _enter(into: Tensor, name: str, leaves: Any, state: State) -> None:
    """Keys, values or scales of every row at their positions."""
    if "recent" in leaves:
        held, at = leaves["recent"], leaves["recent"]["places"] - 1
    else:
        held, at = leaves["cache"]._asdict(), state.positions
    k, v = held["k"], held["v"]
    if name == "scales":
        found = torch.cat([k.scales, v.scales], -1)  # (B,S,G,2)
    else:
        found = k if name == "keys" else v
        found = found.codes if isinstance(found, Coded) else found.to(into.dtype)
    for row, values, positions in zip(into, found, at):
        values, slots = values[positions >= 0], positions[positions >= 0]  # (S,G,...)
        if name == "values":
            row[:, slots] = values.transpose(0, 1)
        elif name == "keys":
            row[:, slots // row.shape[3], :, slots % row.shape[3]] = values
        else:
            row[:, :, slots] = values.permute(1, 2, 0)


def left(builder: Builder, line: int, length: int, like: State) -> State:
    """What one row has read, with the leaves that `like`, a state of the same model, has."""

    def walk(tree: Any, path: Path) -> Any:
        if isinstance(tree, Tensor):
            return _memory(builder, path, line, tree)
        if not isinstance(tree, dict):  # what no token changes
            return tree
        held = {"cache": _whole, "recent": _recent} if path in builder.states else {}
        return {
            name: held[name](builder, path, line, length) if name in held else walk(value, path + steps_of(name))
            for name, value in tree.items()
        }

    device = like.length.device
    whole = torch.arange(length, device=device)[None]
    count = torch.full((1,), length, device=device)
    return State(whole, count, int8_cache=like.int8_cache, leaves=walk(like.leaves, ()))


def _memory(builder: Builder, path: Path, line: int, like: Tensor) -> Tensor:
    found, shape = builder.states[path]["memory"][line], like.shape[1:]
    found = found.reshape(shape[1], shape[0]).t() if path in builder.turned else found.reshape(shape)
    return found[None].to(like.dtype, copy=True).contiguous()


def _whole(builder: Builder, path: Path, line: int, length: int) -> Cache:
    return _slots(builder.states[path], line, torch.arange(length))


def _recent(builder: Builder, path: Path, line: int, length: int) -> dict[str, Tensor]:
    """The sinks and the last slots, as many as there ever are: empty ones stand in front."""
    window, sinks = builder.windows[path]
    slots = torch.arange(length)
    slots = slots[(slots < sinks) | (slots > length - window)]
    cache, room = _slots(builder.states[path], line, slots), sinks + window - 1 - len(slots)
    found = {"k": cache.k, "v": cache.v, "places": slots[None] + 1}
    return {name: pad(x, (0, 0) * (x.dim() - 2) + (room, 0)) for name, x in found.items()}


def _slots(made: dict[str, Tensor], line: int, slots: Tensor) -> Cache:
    """Keys and values (1,S,G,K) of some positions."""
    keys, values = made["keys"][line], made["values"][line]
    k = keys[:, slots // keys.shape[3], :, slots % keys.shape[3]][None]
    v = values[:, slots].transpose(0, 1)[None].contiguous()
    if "scales" not in made:
        return Cache(k, v)
    scales = made["scales"][line][..., slots].permute(2, 0, 1)[None]  # (1,S,G,2)
    return Cache(Coded(k, scales[..., :1]), Coded(v, scales[..., 1:]))
