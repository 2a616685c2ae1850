"""A module read as a diagram while it runs, its axes named by what its parts declare.

    diagram(model)                     from the rows to the logits
    diagram(model, "steps.0.part")     one part of it, on what it is given there

The module is run in its reference form, on rows of B by T made up for it; sizes are chosen so that no axis of the
model has them. An operation of ours whose reference takes more steps for more tokens stays one box, with its
operations by its own formula; so does what cannot be said by indices, the choice of experts for instance. What is no
wire must be the same on other rows, and what cannot be followed is refused: a diagram never holds the rows it was read
on.
"""

from collections import Counter
from collections.abc import Container
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from blockyard.core import Part, UsageError
from blockyard.core.batch import Batch
from blockyard.diagram.box import Groups
from blockyard.diagram.diagram import Diagram
from blockyard.diagram.rules import anew, tensors_of, whole, write_down, written_into
from blockyard.diagram.sheet import Sheet
from blockyard.kernels.dispatch import Op, count_flops, force, watched
from blockyard.model.model import Model, Out

PRIMES = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


class _Reader(TorchDispatchMode):
    """Writes down what runs between a module's first and last operation.

    closed    ops of ours, and paths of parts, that are one box
    spent     how many operations each op of ours took
    unclear   parts whose shapes, or choices of what runs, follow from numbers
    counts    whether it counts operations, and writes nothing down
    beyond    whether the part that is one box reads more than its input and what it learns
    """

    def __init__(self, model: Model, path: str, sheet: Sheet, closed: Container[str]) -> None:
        super().__init__()
        self.model, self.path, self.sheet, self.closed = model, path, sheet, closed
        self.inside, self.op_name, self.stack, self.counts = False, "", [], False
        self.spent: Counter[str] = Counter()
        self.unclear: set[str] = set()
        self.given: Any = None
        self.out: Any = None
        self.beyond = False
        self.takes: list[tuple[str, Groups]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.counts:
            self.spent[self.op_name] += self.inside
            return func(*args, **kwargs)
        if not self.inside:
            out = func(*args, **kwargs)
            self._aside(args, kwargs, out)
            return out
        with _disable_current_modes():
            follows = any(map(self.sheet.follows, tensors_of(args, kwargs)))
            for x in written_into(func, args, kwargs) if follows else ():
                if self.sheet.lost(x) is None:
                    self.sheet.of(x)  # what was there before
        out = func(*args, **kwargs)
        self.spent[self.op_name] += 1
        if torch.Tag.dynamic_output_shape in func.tags and not _places(args) and self.stack[-1]:
            self.unclear.add(self.stack[-1])
        if torch.Tag.data_dependent_output in func.tags and follows:
            if not self.stack[-1]:
                raise UsageError(f"between its parts the model runs by what numbers say ({func}): that is no diagram")
            self.unclear.add(self.stack[-1])
        with _disable_current_modes():
            write_down(self.sheet, func, args, kwargs, out)
        return out

    def _aside(self, args: Any, kwargs: Any, out: Any) -> None:
        """What is not looked into: what it makes of numbers that are followed is not followed further."""
        with _disable_current_modes():
            read = [x for x in tensors_of(args, kwargs) if self.sheet.follows(x)]
            inner = bool(self.stack)
            if inner and any(not self._own(x) for x in read):
                self.beyond = True
            for x in tensors_of(out) if read else ():
                if x is not self.given:
                    self.sheet.lose(x, self._inner() if inner else "it is made in front of the part")

    def _own(self, x: Tensor) -> bool:
        """Whether a part that is one box may read a tensor: its input, what it learns, and what it makes itself."""
        why = self.sheet.lost(x)
        return x is self.given or (why == self._inner() if why else self.sheet.of(x).wire in self.sheet.learned)

    def _inner(self) -> str:
        return f"it was made inside of {self.stack[-1]}, which stays one box"

    def op(self, name: str, run: Any, args: Any, kwargs: Any) -> Any:
        """One of our ops: looked into, or one box."""
        if not self.inside or name not in self.closed:
            outer, self.op_name = self.op_name, name
            with watched(None):
                out = run(*args, **kwargs)
            self.op_name = outer
            return out
        with _disable_current_modes(), watched(None):
            out = run(*args, **kwargs)
            ops = run.flops(*args, **kwargs) // 2 if isinstance(run, Op) else 0
            whole(self.sheet, name, run, args, kwargs, out, ops)
        return out

    def enter(self, path: str, module: nn.Module, args: Any) -> None:
        """A module begins."""
        if path == self.path and not self.takes:
            with _disable_current_modes():
                self.takes.extend(_takes(self.model, self.sheet, args[0]))
            self.inside = True
        if self.inside:
            self.stack.append(path)
            self.inside = path not in self.closed
            self.given, self.beyond = None if self.inside else args[0], False

    def leave(self, path: str, module: nn.Module, args: Any, out: Any) -> None:
        """A module ends: one that is closed is a box of its input and of what it learns."""
        if not self.stack or path != self.stack[-1]:
            return
        self.stack.pop()
        with _disable_current_modes():
            if path in self.closed:
                _closed(self.sheet, module, args, out)
                if self.beyond:
                    made = out if isinstance(out, Tensor) else out[0]
                    self.sheet.lose(made, f"{path} stays one box, and reads more than its input")
                self.inside = True
            if path == self.path:
                self.inside, self.out = False, out


def diagram(model: Model, path: str = "", *, rows: int | None = None, length: int | None = None) -> Diagram:
    """A model, or the part of it at `path`, as a diagram that runs by itself.

    rows, length   of what it is run on: B and T; none: primes that no axis of the model has
    """
    if path not in dict(model.named_modules()):
        raise UsageError(f"the model has no part at {path}; `blockyard draw RECIPE` shows those that it has")
    taken = {axis.size for axis in model.axes.values()}
    free = [n for n in PRIMES if n not in taken]
    rows, length = rows or free[0], length or free[1]
    first, longer = _read(model, path, rows, length, ()), _read(model, path, rows, length + 2, (), counts=True)
    closed = {name for name in first.spent if name and first.spent[name] != longer.spent[name]} | first.unclear
    found = _read(model, path, rows, length, closed) if closed else first
    _same_on_others(found.sheet, _read(model, path, rows, length, closed, seed=1).sheet, path)
    sheet, takes, gives = found.sheet, found.takes, _gives(found.sheet, found.out)
    return _pruned(Diagram(
        sheet.sizes, sheet.wires, tuple(wire for wire, _ in takes), tuple(wire for wire, _ in gives),
        tuple(sheet.boxes), sheet.numbers, frozenset(sheet.learned),
        tuple(groups for _, groups in takes), tuple(groups for _, groups in gives),
    ))  # fmt: skip


def _same_on_others(one: Sheet, other: Sheet, path: str) -> None:
    """What is no wire from the rows, or learned, must be the same on other rows."""
    read = {of.wire for box in one.boxes for of in box.reads}
    fixed = [{wire: x for wire, x in sheet.numbers.items() if wire not in sheet.learned} for sheet in (one, other)]
    alike = fixed[0].keys() == fixed[1].keys() and all(
        torch.equal(x, fixed[1][wire]) for wire, x in fixed[0].items() if wire in read
    )
    if not alike or [box.name for box in one.boxes] != [box.name for box in other.boxes]:
        raise UsageError(f"{path or 'the model'} computes on rows by ways that cannot be seen: that is no diagram")


def _read(model: Model, path: str, rows: int, length: int, closed: Container[str], seed: int = 0,
          counts: bool = False) -> _Reader:  # fmt: skip
    reader, hooks = _Reader(model, path, Sheet(), closed), []
    reader.counts = counts
    for name, module in model.named_modules():
        if name == path or (isinstance(module, Part) and name.startswith(path)):
            hooks.append(module.register_forward_pre_hook(partial(reader.enter, name)))
            hooks.append(module.register_forward_hook(partial(reader.leave, name)))
    was = model.training
    try:
        batch = model.eval().example(rows, length, torch.Generator().manual_seed(seed))
        with torch.no_grad(), force("reference"), watched(reader.op), reader:
            _declare(model, reader.sheet, rows, batch)
            for x in (batch.tokens, *batch.more.values()) if path else ():
                reader.sheet.lose(x, "it is the caller's rows, in front of the part")
            model(batch)
    finally:
        model.train(was)
        for hook in hooks:
            hook.remove()
    if not reader.takes:
        raise UsageError(f"{path} is never called in a forward of its model")
    return reader


def _places(args: Any) -> bool:
    """Whether an operation is an indexing by whole numbers: what comes out has the shape of the indices."""
    return len(args) > 1 and isinstance(args[1], list) and all(x is None or x.dtype != torch.bool for x in args[1])


def _closed(sheet: Sheet, module: Any, args: Any, out: Any) -> None:
    """A part that is not looked into: its input and what it learns go in."""
    x, rest = args[0], args[1:]
    made = out if isinstance(out, Tensor) else out[0]
    learned = [p for p in module.parameters() if sheet.knows(p)]

    def again(x: Tensor, *_: Tensor) -> Tensor:
        with torch.no_grad():
            y = module(x, *rest)
        return y if isinstance(y, Tensor) else y[0]

    with FlopCounterMode(display=False) as counter, count_flops() as tally:
        again(x)
    ops = (counter.get_total_flops() + sum(tally.values())) // 2
    anew(sheet, made, module.path.rpartition(".")[2] or "part", [x, *learned], again, ops)


def _declare(model: Model, sheet: Sheet, rows: int, batch: Batch) -> None:
    """The axes of what is learned, and of the caller's rows."""
    sheet.sizes["B"], sheet.running = rows, ("B",)
    if batch.tokens.dim() < 4:  # of a picture, how many tokens there are is the stem's to say
        sheet.sizes["T"], sheet.running = batch.tokens.shape[1], ("B", "T")
    sheet.named(model.stream)
    expressions = {use.path: use.axes for use in model.uses}
    with _disable_current_modes():
        for name, x in model.named_parameters():
            axes = expressions.get(name)
            if axes is not None and tuple(axis.size for axis in axes) == tuple(x.shape):
                dims: list[tuple[str, ...]] = []
                for axis in axes:
                    used, group = [n for of in dims for n in of], []
                    for leaf in sheet.named(axis):
                        group.append(sheet.axis(leaf, sheet.sizes[leaf], [*used, *group]))
                    dims.append(tuple(group))
                sheet.hold(x, name, tuple(dims), learned=True)


def _takes(model: Model, sheet: Sheet, given: Any) -> list[tuple[str, Groups]]:
    """Wires for what comes in: rows of tokens and what else a batch has, or the stream in front of a part."""
    if isinstance(given, Batch):
        return [_enters(sheet, name, x) for name, x in {"tokens": given.tokens, **given.more}.items()]
    sheet.sizes.setdefault("T", given.shape[1])
    sheet.running = ("B", "T")
    return [_enters(sheet, "x", given, sheet.named(model.stream)[0])]


def _enters(sheet: Sheet, name: str, x: Tensor, last: str = "") -> tuple[str, Groups]:
    dims: list[tuple[str, ...]] = []
    for i, size in enumerate(x.shape):
        used = [n for group in dims for n in group]
        names = [n for n in (*sheet.running, last) if n and sheet.sizes[n] == size and n not in used]
        ours = i < 2 or i == x.dim() - 1
        dims.append((sheet.axis(names[0] if names and ours else str(size), size, used),))
    return sheet.enter(x, name, tuple(dims)), tuple(dims)


def _gives(sheet: Sheet, out: Any) -> list[tuple[str, Groups]]:
    """What goes out: a model's predictions, or what a part writes."""
    made = [*out.prediction.values()] if isinstance(out, Out) else [out if isinstance(out, Tensor) else out[0]]
    return [(sheet.laid(sheet.of(x)), sheet.of(x).dims) for x in made]


def _pruned(whole: Diagram) -> Diagram:
    """Without what nothing reads."""
    wanted, boxes = {*whole.gives}, []
    for box in reversed(whole.boxes):
        if wanted & {wire for wire, _ in box.gives}:
            boxes.append(box)
            wanted |= {one.wire for one in box.reads}
    keep = wanted | {*whole.takes} | {wire for box in boxes for wire, _ in box.gives}
    wires = {wire: axes for wire, axes in whole.wires.items() if wire in keep}
    used = {axis for axes in wires.values() for axis in axes}
    used |= {n for box in boxes for one in box.reads for n in (*one.over, *one.used)}
    used |= {n for box in boxes for _, groups in box.gives for group in groups for n in group}
    return replace(
        whole, wires=wires, boxes=tuple(reversed(boxes)), sizes={n: s for n, s in whole.sizes.items() if n in used},
        numbers={wire: x for wire, x in whole.numbers.items() if wire in keep},
        learned=whole.learned & keep,
    )  # fmt: skip
