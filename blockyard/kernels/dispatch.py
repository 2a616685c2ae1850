"""One operation, several twins: choose one, count what it costs.

    op = Op("name", reference=loop, chunked=fast, flops=closed_form, fake=shapes_only)
    op(...)                          runs the chunked twin, the fastest that every device has
    with force("reference"): ...     runs the named twin; BLOCKYARD_KERNEL=reference does so for the whole process
    with exact(): ...                runs references, which may be differentiated any number of times
    with count_flops() as tally:     adds every op's closed form to `tally[name]`

A multiply-add is two operations, element-wise work counts, causal attention counts the pairs it sees. While counting,
inputs on the meta device give outputs of the right shape without running a twin, so an outer operation counter does not
see the work twice; those outputs carry no gradient: counting on meta is for the forward pass.
Switches hold for the process, not for a thread.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

TWINS = ("chunked", "reference")


def _known(twin: str) -> str:
    if twin not in TWINS:
        raise ValueError(f"no kernel twin {twin!r}; accepted: {', '.join(TWINS)}")
    return twin


class _Switch:
    """What every call looks at; `plain` is the one test on the fast path."""

    def __init__(self):
        self.twin = _known(os.environ.get("BLOCKYARD_KERNEL") or TWINS[0])
        self.tallies: tuple[Counter[str], ...] = ()
        self.refresh()

    def refresh(self):
        self.plain = self.twin == TWINS[0] and not self.tallies


_switch = _Switch()


class Op(Generic[P, R]):
    """A function with twins that agree. `precise` ops keep their own precision under autocast."""

    def __init__(
        self,
        name: str,
        *,
        reference: Callable[P, R],
        chunked: Callable[P, R],
        flops: Callable[P, int],
        fake: Callable[P, R],
        precise: bool = True,
    ):
        self.name, self.reference, self.chunked = name, reference, chunked
        self.flops, self.fake, self.precise = flops, fake, precise
        self.__name__, self.__wrapped__ = name, reference
        self.__doc__ = sys.modules[reference.__module__].__doc__  # the equations stand at the top of the file

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if _switch.plain and not _autocasting(args):
            return self.chunked(*args, **kwargs)
        return self._switched(*args, **kwargs)

    def _switched(self, *args: P.args, **kwargs: P.kwargs) -> R:
        for tally in _switch.tallies:
            tally[self.name] += self.flops(*args, **kwargs)
        device: Any = args[0].device  # pyright: ignore[reportAttributeAccessIssue]
        if _switch.tallies and device.type == "meta":
            return self.fake(*args, **kwargs)
        twin = self.chunked if _switch.twin == "chunked" else self.reference
        if self.precise and _autocasting(args):
            with torch.autocast(device.type, enabled=False):
                return twin(*args, **kwargs)
        return twin(*args, **kwargs)


def _autocasting(args: Any) -> bool:
    kind = args[0].device.type
    return kind != "meta" and torch.is_autocast_enabled(kind)


@contextmanager
def force(twin: str) -> Iterator[None]:
    """Run this twin of every op: "chunked" or "reference"."""
    before, _switch.twin = _switch.twin, _known(twin)
    _switch.refresh()
    try:
        yield
    finally:
        _switch.twin = before
        _switch.refresh()


def exact():
    """Run references: the form to differentiate twice."""
    return force("reference")


@contextmanager
def count_flops() -> Iterator[Counter[str]]:
    """A counter of operations by op name; nested counters each see what runs inside them."""
    tally: Counter[str] = Counter()
    before, _switch.tallies = _switch.tallies, (*_switch.tallies, tally)
    _switch.refresh()
    try:
        yield tally
    finally:
        _switch.tallies = before
        _switch.refresh()
