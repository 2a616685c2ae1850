"""One operation, several implementations: choose one, count what it costs.

    op = Op("name", reference=loop, chunked=fast, cpu=compiled, emit=instructions, flops=closed_form, fake=shapes_only)
    op(...)                          runs the compiled one where it serves, else the chunked one, which always does
    with force("reference"): ...     runs the named one; BLOCKYARD_KERNEL=reference does so for the whole process
    with exact(): ...                runs references, which may be differentiated any number of times
    with count_flops() as tally:     adds every op's closed form to `tally[name]`
    with watched(watcher): ...       gives every op, and every function that is `one_op`, to the watcher

A compiled one serves plain tensors of floats on the CPU. Whoever looks at the operations themselves (a tracer, a
function transform, a counter of operations) gets the chunked one, and so does everybody where numba is missing.
`emit` says what the op becomes where a whole model is compiled for one token after another (`program/emission.py`).
Gradients of the compiled implementations are compiled too; a derivative of one is the chunked one's.

A multiply-add is two operations, element-wise work counts, causal attention counts the pairs it sees. While counting,
inputs on the meta device give outputs of the right shape without running one, so an outer operation counter does not
see the work twice; those outputs carry no gradient: counting on meta is for the forward pass.
Switches hold for the process, not for a thread.
"""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, wraps
from importlib import import_module
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch._C import _functorch, _len_torch_dispatch_stack  # pyright: ignore
from torch.autograd import forward_ad
from torch.compiler import is_compiling

P = ParamSpec("P")
R = TypeVar("R")

IMPLEMENTATIONS = ("cpu", "chunked", "reference")
FLOATS = (torch.float32, torch.bfloat16, torch.float64)


def _known(implementation: str) -> str:
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"no kernel implementation {implementation!r}; accepted: {', '.join(IMPLEMENTATIONS)}")
    return implementation


Watcher = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]  # name, what runs it, its arguments


class _Switch:
    """What every call looks at; `plain` is the one test on the fast path."""

    def __init__(self):
        self.chosen = _known(os.environ.get("BLOCKYARD_KERNEL") or IMPLEMENTATIONS[0])
        self.tallies: tuple[Counter[str], ...] = ()
        self.watcher: Watcher | None = None
        self.refresh()

    def refresh(self):
        self.plain = self.chosen == IMPLEMENTATIONS[0] and not self.tallies and self.watcher is None


_switch = _Switch()


class Op(Generic[P, R]):
    """A function with implementations that agree. `precise` ops keep their own precision under autocast."""

    def __init__(
        self,
        name: str,
        *,
        reference: Callable[P, R],
        chunked: Callable[P, R],
        flops: Callable[P, int],
        fake: Callable[P, R],
        cpu: Callable[P, R] | None = None,
        emit: Callable[..., Any] | None = None,
        precise: bool = True,
    ):
        self.name, self.reference, self.chunked, self.cpu, self.emit = name, reference, chunked, cpu, emit
        self.flops, self.fake, self.precise = flops, fake, precise
        self.__name__, self.__wrapped__ = name, reference
        self.__doc__ = getattr(sys.modules.get(flops.__module__), "__doc__", None)  # its equations

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if _switch.plain and not _autocasting(args):
            return self._fastest(args[0])(*args, **kwargs)
        return self._switched(*args, **kwargs)

    def _fastest(self, x: Any) -> Callable[P, R]:
        return self.cpu if self.cpu is not None and not is_compiling() and _serves(x) else self.chunked

    def _switched(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if _switch.watcher is not None:
            return _switch.watcher(self.name, self, args, kwargs)
        for tally in _switch.tallies:
            tally[self.name] += self.flops(*args, **kwargs)
        device: Any = args[0].device  # pyright: ignore[reportAttributeAccessIssue]
        if _switch.tallies and device.type == "meta":
            return self.fake(*args, **kwargs)
        implementation = self._fastest(args[0]) if _switch.chosen == "cpu" else getattr(self, _switch.chosen)
        if self.precise and _autocasting(args):
            with torch.autocast(device.type, enabled=False):
                return implementation(*args, **kwargs)
        return implementation(*args, **kwargs)


def _tokens(rows: Any, *_: Any, **__: Any) -> bool:
    """One token or none needs no loop."""
    return rows.shape[1] > 1


def compiled(
    beside: str, name: str, otherwise: Callable[P, R], serves: Callable[..., bool] = _tokens, file: str = "cpu"
) -> Callable[P, R]:  # fmt: skip
    """The function of the cpu.py, or another file, beside a module, imported when first needed; `otherwise` where that
    does not serve."""

    def implementation(*args: P.args, **kwargs: P.kwargs) -> R:
        if not serves(*args, **kwargs):
            return otherwise(*args, **kwargs)
        return _of(beside, file, name)(*args, **kwargs)

    return implementation


def emitted(beside: str, name: str) -> Callable[..., Any]:
    """The function of the emit.py beside a module, imported when first needed."""
    return lambda *args, **kwargs: _of(beside, "emit", name)(*args, **kwargs)


@cache
def _of(beside: str, file: str, name: str) -> Callable[..., Any]:
    return getattr(import_module(f"{beside.rpartition('.')[0]}.{file}"), name)


def _serves(x: Any) -> bool:
    """Whether compiled loops may run on x: its numbers lie in this machine's memory and nobody watches operations."""
    return (
        type(x) is torch.Tensor
        and x.is_cpu
        and x.dtype in FLOATS
        and not _len_torch_dispatch_stack()
        and _functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
        and compiles()
    )


def unwatched(weight: torch.Tensor) -> bool:
    """Whether a whole model with such weights may run as one compiled call: none is forced, nobody counts or looks
    at operations, no other precision is asked for, and there is numba."""
    return _switch.plain and not _autocasting([weight]) and not is_compiling() and _serves(weight.detach())


@cache
def compiles() -> bool:
    """Whether numba is there; it is said once where it is not."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        warnings.warn(
            f"numba cannot be imported ({error}): recurrences run without compiled loops, slower", stacklevel=4
        )
        return False
    return True


def _autocasting(args: Any) -> bool:
    kind = args[0].device.type
    return kind != "meta" and torch.is_autocast_enabled(kind)


@contextmanager
def watched(watcher: Watcher | None) -> Iterator[None]:
    """Give every op to the watcher, which answers in its place; None: to nobody."""
    before, _switch.watcher = _switch.watcher, watcher
    _switch.refresh()
    try:
        yield
    finally:
        _switch.watcher = before
        _switch.refresh()


def is_watched() -> bool:
    """Whether somebody is given every op."""
    return _switch.watcher is not None


def one_op(emit: Callable[..., Any] | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function without others that a watcher sees as one op, by its name."""

    def whole(fn: Callable[P, R]) -> Callable[P, R]:
        @wraps(fn)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return fn(*args, **kwargs) if _switch.watcher is None else _switch.watcher(fn.__name__, call, args, kwargs)

        call.emit = emit  # pyright: ignore[reportAttributeAccessIssue]
        return call

    return whole


@contextmanager
def force(implementation: str) -> Iterator[None]:
    """Run this implementation of every op: "reference", "chunked", or "cpu" as without a word."""
    before, _switch.chosen = _switch.chosen, _known(implementation)
    _switch.refresh()
    try:
        yield
    finally:
        _switch.chosen = before
        _switch.refresh()


def exact() -> AbstractContextManager[None]:
    """`with exact():` runs the reference of every operation: slow, literal, differentiable any number of times."""
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
