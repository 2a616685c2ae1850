"""Where probes look and reach into a forward: the stream at every depth, or hook points, each by a name of its own.

stem, steps.0.part, ...      `at="stream"`: in front of the first step, and behind every one
steps.0.part:context, ...    `at="*:context"`: hook points; what runs again is `steps.0.part:context@1`
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from blockyard.core import Batch, UsageError
from blockyard.core.flow import Flow
from blockyard.core.state import tree_map
from blockyard.model.model import Out

STREAM = "stream"
Tree = Any  # a tensor (B,T,...) or, of a residual rule that carries several, a tuple of them


def named(path: str, loop: int) -> str:
    """The name of what stands at a path, in its first run or in a later one."""
    return f"{path}@{loop}" if loop else path


def along(model: Any, batch: Batch, do: Callable[[str, Flow], Flow]) -> Out:
    """A forward in which the flow goes on as `do(name, flow)` says, in front of the first step and behind every one."""

    def run(flow: Flow, step: int, loop: int = 0, **how: Any) -> Flow:
        return do(named(model.steps[step].part.path, loop), model._run(flow, step, loop, **how))

    return model.finish(model._all(do("stem", model.start(batch)), run))


def visited(model: Any, batch: Batch, at: str, do: Callable[[str, Tree], Tree]) -> Out:
    """A forward in which every value that `at` means goes on as `do(name, value)`, in the order in which they are made.

    Of the stream the value is what the residual rule carries, so that to put back what was there is to change nothing.
    """
    if at == STREAM:
        return along(model, batch, lambda name, flow: flow._replace(carry=do(name, flow.carry)))
    met: dict[str, int] = {}

    def acting(key: str) -> Callable[[Tensor], Tensor]:
        def act(value: Tensor) -> Tensor:
            met[key] = met.get(key, -1) + 1
            return do(named(key, met[key]), value)

        return act

    keys = [":".join(key) for key in model.resolve({at: "read"})]
    return model(batch, points={key: acting(key) for key in keys})


@torch.no_grad()
def kept(model: Any, batch: Batch, at: str) -> dict[str, Tree]:
    """Every value that `at` means, by its name: of the stream what is carried."""
    found: dict[str, Tree] = {}

    def keep(name: str, value: Tree) -> Tree:
        found[name] = value
        return value

    visited(model, batch, at, keep)
    if not found:
        raise UsageError(f"no forward of this model passes {at}")
    return found


@torch.no_grad()
def read(model: Any, batch: Batch, at: str) -> dict[str, Tensor]:
    """The same in double precision on the CPU: of the stream (B,T,D) what a head would read."""
    if at != STREAM:
        return {name: value.double().cpu() for name, value in kept(model, batch, at).items()}
    found: dict[str, Tensor] = {}

    def look(name: str, flow: Flow) -> Flow:
        found[name] = flow.x.double().cpu()
        return flow

    along(model, batch, look)
    return found


def read_all(model: Any, given: Batch, at: str, batch: int) -> dict[str, Tensor]:
    """The same of all rows, so many at once."""
    pieces = [read(model, piece, at) for piece in in_pieces(given, batch)]
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}


def in_pieces(given: Batch, batch: int) -> list[Batch]:
    """The rows of a batch, so many at once."""
    return [given.rows(slice(first, first + batch)) for first in range(0, len(given.tokens), batch)]


def put(new: Tree, old: Tree, where: Tensor | None) -> Tree:
    """What was there with other values at the tokens where `where` (B or 1,T) holds; None: everywhere."""

    def one(old: Tensor, new: Tensor) -> Tensor:
        if old.shape != new.shape:
            shapes = f"{tuple(new.shape)} in place of {tuple(old.shape)}"
            raise UsageError(f"a value is replaced by one of the same shape, not {shapes}")
        if where is None:
            return new.to(old)
        return torch.where(where.reshape(*where.shape, *[1] * (old.dim() - 2)), new.to(old), old)

    try:
        return tree_map(one, old, new)
    except UsageError:
        raise
    except ValueError:
        raise UsageError("two residual rules that carry different things cannot stand for one another") from None


def tokens_of(name: str, value: Tree, rows: int, length: int | None) -> int:
    """How many tokens a value (B,T,...) has; what does not lie token by token is refused.

    length   that of the rows; None: whatever it is
    """
    lengths = set[Any]()
    tree_map(lambda leaf: lengths.add(leaf.shape[1] if leaf.dim() > 2 and len(leaf) == rows else None), value)
    (found,) = lengths if len(lengths) == 1 else (None,)
    if found is None or length not in (None, found):
        raise UsageError(f"{name} does not lie token by token (rows, tokens, ...): it can be replaced as a whole only")
    return found
