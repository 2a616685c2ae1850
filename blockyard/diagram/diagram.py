"""A diagram: wires that are rows of named axes, and boxes between them.

    f.then(g)               what f gives is what g takes; other axes are refused
    f.beside(g)             both, each on its own wires
    f.lifted("c", 5)        f along one more axis of all that it takes, or of some: index before = index after
    f.renamed({"d": "e"})   the same map
    f(x)                    run as the einsums and functions that it says, without the module it was read from

Learned numbers are wires of their own, `numbers` by name; constants likewise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from torch import Tensor

from blockyard.core import UsageError
from blockyard.diagram.affine import Affine
from blockyard.diagram.box import Box, Groups, Read

Axes = tuple[str, ...]


@dataclass(frozen=True)
class Diagram:
    """A typed graph of a function of tensors.

    sizes    of every axis                          wires   the axes of every wire
    takes    the wires that come in, `gives` those that go out
    boxes    in the order in which they run
    numbers  what is learned or constant: tensors by wire, one dimension an axis
    learned  which of those are learned
    """

    sizes: Mapping[str, int]
    wires: Mapping[str, Axes]
    takes: Axes
    gives: Axes
    boxes: tuple[Box, ...]
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    learned: frozenset[str] = frozenset()
    takes_as: tuple[Groups, ...] = ()
    gives_as: tuple[Groups, ...] = ()

    def __post_init__(self) -> None:
        for name in ("takes", "gives"):  # a dimension of a caller's tensor may be several axes
            plain = tuple(tuple((axis,) for axis in self.wires[wire]) for wire in getattr(self, name))
            object.__setattr__(self, f"{name}_as", getattr(self, f"{name}_as") or plain)

    def shape(self, wire: str, **sizes: int) -> tuple[int, ...]:
        """The sizes of a wire's axes, some of them other than here."""
        return tuple(sizes.get(axis, self.sizes[axis]) for axis in self.wires[wire])

    def __call__(self, *given: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run on tensors in the order of `takes`; what comes out in the order of `gives`."""
        if len(given) != len(self.takes):
            raise UsageError(f"the diagram takes {len(self.takes)} tensors, not {len(given)}")
        values: dict[str, Tensor] = dict(self.numbers)
        for wire, x, groups in zip(self.takes, given, self.takes_as):
            folded = [prod(self.sizes[axis] for axis in group) for group in groups]
            if [*x.shape] != folded:
                raise UsageError(f"{wire} is {self._said(wire)}, that is {folded}, not {[*x.shape]}")
            values[wire] = x.reshape(self.shape(wire))
        for box in self.boxes:
            for (wire, _), x in zip(box.gives, box([values[one.wire] for one in box.reads], self.sizes)):
                values[wire] = x
        out = [
            values[wire].reshape([prod(self.sizes[axis] for axis in group) for group in groups])
            for wire, groups in zip(self.gives, self.gives_as)
        ]
        return tuple(out) if len(out) > 1 else out[0]

    def multiply_adds(self) -> int:
        """Of all contractions, and of what counts its own."""
        return sum(box.multiply_adds(self.sizes) for box in self.boxes)

    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(self.numbers[wire].numel() for wire in self.learned)

    def cut(self) -> int:
        """The largest number of values that lie between two boxes, what is learned or constant left out."""
        last = {one.wire: i for i, box in enumerate(self.boxes) for one in box.reads}
        last |= dict.fromkeys(self.gives, len(self.boxes))
        alive = {wire: prod(self.shape(wire)) for wire in self.takes}
        most = sum(alive.values())
        for i, box in enumerate(self.boxes):
            alive |= {wire: prod(self.shape(wire)) for wire, _ in box.gives}
            most = max(most, sum(alive.values()))
            alive = {wire: size for wire, size in alive.items() if last.get(wire, -1) > i}
        return most

    def then(self, other: "Diagram") -> "Diagram":
        """What comes out here goes in there: the same axes, of the same sizes."""
        there = [tuple(other.wires[wire]) for wire in other.takes]
        here = [tuple(self.wires[wire]) for wire in self.gives]
        if here != there or any(self.sizes[a] != other.sizes[a] for axes in here for a in axes):
            raise UsageError(f"{self._bundle(self.gives)} goes out, and {other._bundle(other.takes)} would come in")
        first, second = self._beside(other)
        joined = second._with_wires(dict(zip(second.takes, first.gives)))
        return first._joined(joined, takes=first.takes, gives=joined.gives)

    def beside(self, other: "Diagram") -> "Diagram":
        """Both side by side: first what this takes and gives, then what the other does."""
        first, second = self._beside(other)
        return first._joined(second, takes=first.takes + second.takes, gives=first.gives + second.gives)

    def lifted(self, axis: str, size: int, only: Iterable[str] | None = None) -> "Diagram":
        """The same along one more axis in front, of all wires that come in or of some; learned numbers have none."""
        if axis in self.sizes:
            raise UsageError(f"there is an axis {axis} already; lift over another name")
        wide = {*(self.takes if only is None else only)}
        if unknown := wide - {*self.takes}:
            raise UsageError(f"{', '.join(sorted(unknown))} does not come in; {', '.join(self.takes)} do")
        boxes = []
        for box in self.boxes:
            made = box.lifted(axis, size, frozenset(wide))
            wide |= {wire for wire, _ in made.gives} if made is not box else set()
            boxes.append(made)
        if missing := [wire for wire in self.gives if wire not in wide]:
            raise UsageError(f"{', '.join(missing)} does not depend on what is lifted")
        wires = {wire: (axis, *axes) if wire in wide else axes for wire, axes in self.wires.items()}
        takes_as, gives_as = (
            tuple(((axis,), *groups) if wire in wide else groups for wire, groups in zip(names, folded))
            for names, folded in ((self.takes, self.takes_as), (self.gives, self.gives_as))
        )
        sizes = {**self.sizes, axis: size}
        return replace(self, sizes=sizes, wires=wires, boxes=tuple(boxes), takes_as=takes_as, gives_as=gives_as)

    def renamed(self, axes: Mapping[str, str]) -> "Diagram":
        """The same with other names of axes."""
        names = {axis: axes.get(axis, axis) for axis in self.sizes}
        if len({*names.values()}) < len(names):
            raise UsageError("two axes would get one name")
        folded = [
            tuple(tuple(tuple(names[a] for a in group) for group in groups) for groups in side)
            for side in (self.takes_as, self.gives_as)
        ]
        return replace(
            self,
            sizes={names[axis]: size for axis, size in self.sizes.items()},
            wires={wire: tuple(names[a] for a in of) for wire, of in self.wires.items()},
            boxes=tuple(box.renamed(names, {}) for box in self.boxes),
            takes_as=folded[0],
            gives_as=folded[1],
        )

    def _with_wires(self, names: Mapping[str, str]) -> "Diagram":
        named = dict(names)
        return replace(
            self,
            wires={named.get(wire, wire): axes for wire, axes in self.wires.items()},
            takes=tuple(named.get(wire, wire) for wire in self.takes),
            gives=tuple(named.get(wire, wire) for wire in self.gives),
            boxes=tuple(box.renamed({}, named) for box in self.boxes),
            numbers={named.get(wire, wire): x for wire, x in self.numbers.items()},
            learned=frozenset(named.get(wire, wire) for wire in self.learned),
        )

    def _beside(self, other: "Diagram") -> tuple["Diagram", "Diagram"]:
        """Both, the other's wires under names that are free, axes that mean another size refused."""
        for axis in self.sizes.keys() & other.sizes.keys():
            if self.sizes[axis] != other.sizes[axis]:
                raise UsageError(f"axis {axis} is {self.sizes[axis]} here and {other.sizes[axis]} there; rename one")
        names, taken = {}, {*self.wires, *other.wires}
        for wire in other.wires:
            if wire in self.wires:
                number = 2
                while f"{wire}.{number}" in taken:
                    number += 1
                names[wire] = f"{wire}.{number}"
                taken.add(names[wire])
        return self, other._with_wires(names)

    def _joined(self, other: "Diagram", takes: Axes, gives: Axes) -> "Diagram":
        folded = dict(zip(self.takes + self.gives, self.takes_as + self.gives_as))
        folded |= dict(zip(other.takes + other.gives, other.takes_as + other.gives_as))
        return Diagram(
            {**self.sizes, **other.sizes}, {**self.wires, **other.wires}, takes, gives, self.boxes + other.boxes,
            {**self.numbers, **other.numbers}, self.learned | other.learned,
            tuple(folded[wire] for wire in takes), tuple(folded[wire] for wire in gives),
        )  # fmt: skip

    def _said(self, wire: str) -> str:
        return "(" + " ".join(f"{axis}={self.sizes[axis]}" for axis in self.wires[wire]) + ")"

    def _bundle(self, wires: Axes) -> str:
        return ", ".join(map(self._said, wires)) or "nothing"


def linear(*operands: Axes, out: Axes, sizes: Mapping[str, int], names: Axes = ()) -> Diagram:
    """A box that is one einsum: operands of these axes in, `out` out.

    sizes   of every axis            names   of the wires that come in, `x`, `y` and on where none are said
    """
    wires = dict(zip(names or "xyzuvw", operands))
    reads = [Read(wire, tuple(map(Affine.of, axes)), _single(axes)) for wire, axes in wires.items()]
    return _of_one(Box("linear", tuple(reads), (("out", _single(out)),)), wires, sizes)


def reading(axes: Axes, index: tuple[Affine, ...], out: Axes, sizes: Mapping[str, int]) -> Diagram:
    """A box that only moves numbers: the output's indices say where they read x."""
    return _of_one(Box("linear", (Read("x", index, _single(out)),), (("out", _single(out)),)), {"x": axes}, sizes)


def function(name: str, run: Any, axes: Axes, out: Axes, sizes: Mapping[str, int]) -> Diagram:
    """A box that is any function of one tensor, a dimension an axis."""
    reads = (Read("x", tuple(map(Affine.of, axes)), _single(axes)),)
    return _of_one(Box(name, reads, (("out", _single(out)),), run), {"x": axes}, sizes)


def _single(axes: Axes) -> Groups:
    """A dimension an axis."""
    return tuple((axis,) for axis in axes)


def _of_one(box: Box, wires: dict[str, Axes], sizes: Mapping[str, int]) -> Diagram:
    all_wires = {**wires, "out": box.out}
    used = dict.fromkeys(axis for axes in all_wires.values() for axis in axes)
    return Diagram({axis: sizes[axis] for axis in used}, all_wires, tuple(wires), ("out",), (box,))


def wire(axes: Axes, sizes: Mapping[str, int]) -> Diagram:
    """A wire that passes."""
    return Diagram({axis: sizes[axis] for axis in axes}, {"x": axes}, ("x",), ("x",), ())
