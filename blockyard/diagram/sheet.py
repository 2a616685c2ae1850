"""What is known of every tensor while a module runs: the wire it lies on, and where its dimensions read that wire.

A view, a transpose, a slice or an expansion moves nothing: it is another reading of the same wire. Boxes stand only
where numbers are made. `Meeting` brings the indices of a box's operands together: dimensions that meet become one
index, or several where one side knows them as a product.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from torch import Tensor

from blockyard.core import Axis, Cat, Prod, UsageError
from blockyard.diagram.affine import Affine
from blockyard.diagram.box import Box, Groups, Read

Expression = Axis | Prod | Cat


class Unclear(UsageError):
    """Dimensions that do not factor as they meet."""


@dataclass(frozen=True)
class Reading:
    """A tensor: a wire, an index for each of its axes, and the indices by dimension; one of size 1 may have none."""

    wire: str
    index: tuple[Affine, ...]
    dims: Groups

    def put(self, name: str, by: Affine, names: tuple[str, ...] = ()) -> "Reading":
        """An index replaced by a sum of others, in a dimension by those others in order."""
        dims = tuple(tuple(n for old in group for n in (names if old == name else (old,))) for group in self.dims)
        return Reading(self.wire, tuple(affine.put(name, by) for affine in self.index), dims)

    def renamed(self, names: dict[str, str]) -> "Reading":
        """The same with other names of indices."""
        dims = tuple(tuple(names.get(n, n) for n in group) for group in self.dims)
        return Reading(self.wire, tuple(affine.renamed(names) for affine in self.index), dims)


@dataclass
class Sheet:
    """Wires, boxes and sizes as they are found; `known` by the identity of a tensor, which is kept alive."""

    sizes: dict[str, int] = field(default_factory=dict)
    wires: dict[str, tuple[str, ...]] = field(default_factory=dict)
    boxes: list[Box] = field(default_factory=list)
    numbers: dict[str, Tensor] = field(default_factory=dict)
    learned: set[str] = field(default_factory=set)
    parts: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)  # of an axis that is others side by side
    running: tuple[str, ...] = ()  # axes whose size is the caller's: a constant of that size has them
    _known: dict[int, tuple[Tensor, Reading]] = field(default_factory=dict)
    _lost: dict[int, tuple[Tensor, str]] = field(default_factory=dict)
    _held: set[int] = field(default_factory=set)  # storages of what is followed or lost; all of those are kept alive
    _axes: dict[int, tuple[Any, str]] = field(default_factory=dict)

    # names

    def axis(self, name: str, size: int, besides: Iterable[str] = ()) -> str:
        """An axis of this name and size that is none of `besides`: primes tell apart what is alike."""
        used = {*besides}
        while name in used or self.sizes.get(name, size) != size:
            name += "'"
        self.sizes[name] = size
        return name

    def named(self, axis: Expression) -> tuple[str, ...]:
        """The names of a dimension's axes, from left to right; several side by side are one."""
        if isinstance(axis, Prod):
            return tuple(name for part in axis.parts for name in self.named(part))
        if id(axis) not in self._axes:
            if isinstance(axis, Cat):
                parts = [self.named(part) for part in axis.parts]
                times = Counter("*".join(part) for part in parts)
                name = self.axis("+".join(f"{n}{part}" if n > 1 else part for part, n in times.items()), axis.size)
                self.parts[name] = parts
            else:
                name, others = axis.name, {self._axes[key][1] for key in self._axes}
                number = 2
                while name in others:
                    name, number = f"{axis.name}{number}", number + 1
                name = self.axis(name, axis.size)
            self._axes[id(axis)] = axis, name
        return (self._axes[id(axis)][1],)

    # tensors

    def wire(self, name: str, axes: tuple[str, ...]) -> str:
        """A new wire."""
        base, number = name, 2
        while name in self.wires:
            name, number = f"{base}.{number}", number + 1
        self.wires[name] = axes
        return name

    def set(self, x: Tensor, reading: Reading) -> None:
        """What is known of a tensor from now on."""
        sizes = tuple(prod(self.sizes[n] for n in group) for group in reading.dims)
        assert sizes == tuple(x.shape), f"{reading.dims} are {sizes}, not {tuple(x.shape)}"
        self._known[id(x)] = x, reading
        self._lost.pop(id(x), None)
        self._hold_storage(x)

    def enter(self, x: Tensor, name: str, dims: Groups) -> str:
        """A wire for a tensor that comes from outside."""
        axes = tuple(n for group in dims for n in group)
        wire = self.wire(name, axes)
        self.set(x, Reading(wire, tuple(map(Affine.of, axes)), dims))
        return wire

    def hold(self, x: Tensor, name: str, dims: Groups, learned: bool = False) -> None:
        """A wire for numbers that are learned, or constant."""
        wire = self.enter(x, name, dims)
        self.numbers[wire] = x.detach().reshape([self.sizes[n] for n in self.wires[wire]])
        if learned:
            self.learned.add(wire)

    def lose(self, x: Tensor, why: str) -> None:
        """This tensor is not followed; who reads it is refused."""
        self._lost[id(x)] = x, why
        self._hold_storage(x)

    def lost(self, x: Tensor) -> str | None:
        """Why a tensor is not followed; none where it is, or is a constant."""
        if id(x) in self._lost:
            return self._lost[id(x)][1]
        aside = id(x) not in self._known and _storage(x) in self._held
        return "it looks at numbers that were written or made elsewhere" if aside else None

    def overwritten(self, x: Tensor) -> None:
        """A tensor was written into: what else looks at its numbers is not known any more."""
        for key, (other, _) in self._known.items():
            if other is not x and _storage(other) == _storage(x):
                self._lost[key] = other, "a view of it was written into"

    def forget(self, x: Tensor) -> None:
        """Other constants stand where a constant stood: whoever reads it reads it anew."""
        places = [key for key, (other, _) in self._known.items() if _storage(other) == _storage(x)]
        for key in places:
            del self._known[key]

    def _hold_storage(self, x: Tensor) -> None:
        if self.follows(x) and _storage(x):
            self._held.add(_storage(x))

    def follows(self, x: Tensor) -> bool:
        """Whether a tensor depends on what comes in or is learned, as far as is known."""
        if self.lost(x):
            return True
        wire = self._known[id(x)][1].wire if id(x) in self._known else None
        return wire is not None and (wire not in self.numbers or wire in self.learned)

    def knows(self, x: Tensor) -> bool:
        """Whether a tensor was seen before."""
        return id(x) in self._known

    def of(self, x: Tensor) -> Reading:
        """What is known of a tensor; of one never seen, that it is a constant."""
        if why := self.lost(x):
            raise UsageError(f"a tensor {tuple(x.shape)} cannot be followed: {why}")
        if id(x) not in self._known:
            dims: list[tuple[str, ...]] = []
            for size in x.shape:
                used = [n for group in dims for n in group]
                like = next((n for n in self.running if self.sizes[n] == size and n not in used), str(size))
                dims.append(() if size == 1 else (self.axis(like, size, used),))
            self.hold(x.clone(), "constant", tuple(dims))
            self._known[id(x)] = x, list(self._known.values())[-1][1]
        return self._known[id(x)][1]

    # boxes

    def give(self, out: Tensor, name: str, reads: Sequence[Read], groups: Groups, dims: Groups | None = None,
             run: Callable[..., Any] | None = None, ops: int = 0) -> None:  # fmt: skip
        """A box whose only output is this tensor; `dims`: its dimensions, where the box gives them in another order."""
        self.give_all([out], name, reads, [groups], run, ops)
        if dims is not None:
            wire = self.boxes[-1].gives[0][0]
            self.set(out, Reading(wire, tuple(map(Affine.of, self.wires[wire])), dims))

    def give_all(self, outs: Sequence[Tensor], name: str, reads: Sequence[Read], groups: Sequence[Groups],
                 run: Callable[..., Any] | None = None, ops: int = 0) -> None:  # fmt: skip
        """A box with an output for each tensor."""
        gives = []
        for out, of in zip(outs, groups):
            axes = tuple(n for group in of for n in group)
            wire = self.wire(f"{name}", axes)
            gives.append((wire, of))
            if [prod(self.sizes[n] for n in group) for group in of] == [*out.shape]:
                self.set(out, Reading(wire, tuple(map(Affine.of, axes)), of))
        self.boxes.append(Box(name, tuple(reads), tuple(gives), run, ops))

    def own(self, reading: Reading) -> Reading:
        """The same on a wire that has just these numbers."""
        wire = self.laid(reading)
        return Reading(wire, tuple(map(Affine.of, self.wires[wire])), reading.dims)

    def laid(self, reading: Reading) -> str:
        """A wire that is what a reading reads, its own one where it reads all of it as it stands."""
        axes = tuple(n for group in reading.dims for n in group)
        if [affine.plain for affine in reading.index] == [*self.wires[reading.wire]] == [*axes]:
            return reading.wire
        wire = self.wire("read", axes)
        self.boxes.append(Box("linear", (Read(reading.wire, reading.index, reading.dims),), ((wire, reading.dims),)))
        return wire

    # readings that move nothing

    def folded(self, reading: Reading, shape: Sequence[int]) -> Reading:
        """The same numbers in the same order, seen in another shape."""
        todo, groups = [n for group in reading.dims for n in group], []
        for size in shape:
            group: list[str] = []
            have = 1
            while have < size:
                if not todo:
                    raise Unclear("a view of fewer numbers")
                leaf = todo.pop(0)
                n = self.sizes[leaf]
                if size % (have * n) == 0:
                    group.append(leaf)
                    have *= n
                    continue
                need = size // have
                if size % have or n % need:
                    raise Unclear(f"axis {leaf} of {n} does not split into {need}")
                outer, inner = self.halves(leaf, need, [m for g in reading.dims for m in g])
                reading = reading.put(leaf, Affine(((outer, n // need), (inner, 1))), (outer, inner))
                todo.insert(0, inner)
                group.append(outer)
                have = size
            groups.append(tuple(group))
        for leaf in todo:  # of size 1
            reading = reading.put(leaf, Affine())
        return replace(reading, dims=tuple(groups))

    def halves(self, leaf: str, outer: int, besides: Iterable[str] = ()) -> tuple[str, str]:
        """Names for an axis seen as two."""
        first = self.axis(f"{leaf}/", outer, besides)
        return first, self.axis(f"{leaf}%", self.sizes[leaf] // outer, [*besides, first])

    def sliced(self, reading: Reading, dim: int, start: int, count: int, step: int = 1) -> Reading | None:
        """`count` places of a dimension from `start` on; none where it is a product of axes."""
        group = reading.dims[dim]
        size = prod(self.sizes[n] for n in group)
        if (start, count, step) == (0, size, 1):
            return reading
        for name in group:  # an axis of one place stands nowhere else
            if self.sizes[name] == 1 and len(group) > 1:
                reading = reading.put(name, Affine())
        group = reading.dims[dim]
        if len(group) != 1:
            return None
        (leaf,), used = group, [n for g in reading.dims for n in g if n != group[0]]
        at = 0
        for part in self.parts.get(leaf, []):
            of = prod(self.sizes[n] for n in part)
            if (at, of, 1) == (start, count, step):
                names = []
                for n in part:
                    names.append(self.axis(n, self.sizes[n], [*used, *names]))
                terms = tuple((n, prod(self.sizes[m] for m in names[i + 1 :])) for i, n in enumerate(names))
                return reading.put(leaf, Affine(terms, start), tuple(names))
            at += of
        name = leaf if step == -1 or count == size else f"{leaf}:{count}"
        name = self.axis(name, count, used)
        return reading.put(leaf, Affine(((name, step),), start), (name,))

    def picked(self, reading: Reading, dim: int, place: int) -> Reading:
        """One place of a dimension, which goes."""
        for n in reversed(reading.dims[dim]):
            reading = reading.put(n, Affine((), place % self.sizes[n]))
            place //= self.sizes[n]
        return replace(reading, dims=reading.dims[:dim] + reading.dims[dim + 1 :])


def _storage(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


class Meeting:
    """The operands of one box, and which of their dimensions are the same index."""

    def __init__(self, sheet: Sheet, *readings: Reading):
        self.sheet, self.sizes, self.names, self.readings = sheet, {}, {}, []
        for i, reading in enumerate(readings):
            own = {n: f"{i}:{n}" for group in reading.dims for n in group}
            self.sizes |= {letter: sheet.sizes[n] for n, letter in own.items()}
            self.names |= {letter: n for n, letter in own.items()}
            self.readings.append(reading.renamed(own))

    def group(self, operand: int, dim: int) -> tuple[str, ...]:
        """The indices of a dimension."""
        return self.readings[operand].dims[dim]

    def shift(self, operand: int, letter: str, by: Affine, names: tuple[str, ...] = ()) -> None:
        """An operand reads elsewhere."""
        self.readings[operand] = self.readings[operand].put(letter, by, names)

    def letter(self, name: str, size: int) -> str:
        """A new index that wants this name."""
        letter = f"{len(self.names)}+{name}"
        self.sizes[letter], self.names[letter] = size, name
        return letter

    def drop(self, operand: int, dim: int) -> None:
        """A dimension of size 1 has no index."""
        for letter in self.group(operand, dim):
            self.shift(operand, letter, Affine())

    def meet(self, *places: tuple[int, int]) -> None:
        """These dimensions (operand, dim) are one."""
        first = places[0]
        for other in places[1:]:
            i = 0
            while i < len(self.group(*first)) or i < len(self.group(*other)):
                self._level(first, other, i)
                i += 1

    def _level(self, one: tuple[int, int], two: tuple[int, int], i: int) -> None:
        """Their i-th indices become the same, the larger one split first."""
        pair = [self.group(*place)[i] if i < len(self.group(*place)) else None for place in (one, two)]
        for letter in pair:
            if letter is not None and self.sizes[letter] == 1 and None in pair:
                return self._everywhere(letter, Affine(), ())
        a, b = pair
        if a is None or b is None:
            raise Unclear("dimensions of other sizes meet")
        if self.sizes[a] != self.sizes[b]:
            large, small = (a, b) if self.sizes[a] > self.sizes[b] else (b, a)
            if self.sizes[large] % self.sizes[small]:
                raise Unclear(f"{self.names[a]} and {self.names[b]} have no common factors")
            rest = self.sizes[large] // self.sizes[small]
            outer = self.letter(self.names[large] + "/", self.sizes[small])
            inner = self.letter(self.names[large] + "%", rest)
            self._everywhere(large, Affine(((outer, rest), (inner, 1))), (outer, inner))
            a, b = (outer if letter == large else letter for letter in (a, b))
        if a != b:
            keep, gone = (a, b) if "/" not in self.names[a] else (b, a)
            self._everywhere(gone, Affine.of(keep), (keep,))

    def _everywhere(self, letter: str, by: Affine, names: tuple[str, ...]) -> None:
        self.readings = [reading.put(letter, by, names) for reading in self.readings]

    def settled(self, groups: Sequence[tuple[str, ...]]) -> tuple[list[Read], Groups]:
        """The reads of the box, and the output's groups, by names that no two indices share."""
        order = [letter for group in groups for letter in group]
        order += [letter for one in self.readings for group in one.dims for letter in group]
        order += [name for one in self.readings for affine in one.index for name, _ in affine.terms]
        names: dict[str, str] = {}
        for letter in dict.fromkeys(order):
            names[letter] = self.sheet.axis(self.names[letter], self.sizes[letter], names.values())
        reads = [one.renamed(names) for one in self.readings]
        return (
            [Read(one.wire, one.index, one.dims) for one in reads],
            tuple(tuple(names[letter] for letter in group) for group in groups),
        )
