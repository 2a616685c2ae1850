"""One token through a model, written down as it runs: the framework's operations, and each of our ops as one.

    recording = record(model, state, token)      Unrecordable where what the token reads decides what runs

It is the model's own forward. While it runs the past is sealed for all but whole ops: a number of slots would be
another one at the next token.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from blockyard.core.call import Call
from blockyard.core.state import State, tensors
from blockyard.kernels.dispatch import is_watched, watched
from blockyard.kernels.program.builder import Unrecordable
from blockyard.model.model import Model, Out


@dataclass(eq=False)
class Node:
    """An operation that ran: the framework's by its name there, one of ours as `op:NAME`."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    run: Any  # does it again
    ins: list[Tensor] = field(init=False)
    mutates: bool = field(init=False)  # writes into what it is given
    outs: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        given = tuple(x for x in self.args if not isinstance(x, Call))  # what all layers share is no operand
        self.mutates = bool(getattr(getattr(self.run, "_schema", None), "is_mutable", False))
        self.ins, self.outs = tensors((given, self.kwargs)), tensors(self.out)


@dataclass(frozen=True)
class Recording:
    """A forward of one token, operation by operation, with what went in and what came out."""

    nodes: list[Node]
    tokens: Tensor
    before: State
    after: Out


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[Node] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.nodes.append(Node(str(func), args, kwargs or {}, out, func))
        return out

    def whole(self, name: str, run: Any, args: Any, kwargs: Any) -> Any:
        with _disable_current_modes(), watched(None):
            out = run(*args, **kwargs)
        self.nodes.append(Node(f"op:{name}", args, kwargs, out, run))
        return out


class _Sealed:
    """The past of a call, for whole ops only: how many slots there are is another number at every token."""

    def __init__(self, past: Any) -> None:
        self._past = past

    def __getattr__(self, name: str) -> Any:
        if is_watched():
            raise Unrecordable(f"a part that looks at the past's {name}")
        return getattr(self._past, name)


@torch.inference_mode()
def record(model: Model, state: State, token: int) -> Recording:
    """A token behind a state of one row."""
    if model.lead:
        raise Unrecordable("what stands before the first token is no instruction yet")
    tokens, recorder = torch.full((1, 1), token), _Recorder()
    try:
        with watched(recorder.whole), recorder:
            flow = model.start(tokens, state)
            flow = flow._replace(call=flow.call._replace(past=_Sealed(flow.call.past)))  # pyright: ignore
            out = model.finish(model.run(flow))
    except Unrecordable:
        raise
    except Exception as error:  # whatever a part of somebody's own does under a recorder
        raise Unrecordable(f"{type(error).__name__}: {error}") from error
    return Recording(recorder.nodes, tokens, state, out)
