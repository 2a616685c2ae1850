"""A recorded token as instructions: every op says what it becomes, no part does.

    logits = Emitter(builder, graph).run()      Unrecordable where an op has no instruction

An op of ours carries its `emit`, which takes (emitter, *the op's own arguments). `EMITS` holds those of the framework's
operations, by their names in a recording; they take (emitter, node, *arguments). All say where their result will be.
What depends on nothing is computed again from today's weights, what depends on the position only for all positions that
there is room for. The rest is a vector for every token.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from blockyard.core.state import tensors
from blockyard.decode.graph import CACHES, POSITION, SHAPES, SLOTS, TOKEN, Graph, storage
from blockyard.decode.record import Node, Unrecordable
from blockyard.kernels.program.builder import Builder, Vector
from blockyard.kernels.program.codes import MAP, PLACE, SAME
from blockyard.kernels.program.emission import whole

Emit = Callable[..., Vector]
EMITS: dict[str, Emit] = {}
CASTS = ("aten.to.dtype", "aten._to_copy.default")


def emits(*names: str) -> Callable[[Emit], Emit]:
    """Enter what an op becomes, under all its names."""

    def enter(emit: Emit) -> Emit:
        EMITS.update(dict.fromkeys(names, emit))
        return emit

    return enter


class Emitter:
    """The operands of a recording as vectors of a program."""

    def __init__(self, w: Builder, graph: Graph) -> None:
        self.w, self.graph = w, graph
        self.vectors: dict[int, Vector] = {}  # by storage
        self.tables: dict[int, Vector] = {}  # by tensor: a line for every position
        self.made: dict[int, Tensor] = {}  # constants computed again
        self.plain: list[tuple[Any, Vector]] = []  # states that plain operations read

    def varies(self, x: Any) -> bool:
        """Whether x is another number at every token."""
        return self.graph.kind(x) in (TOKEN, POSITION)

    def vector(self, x: Tensor) -> Vector:
        """Where x of a token lies, or the one line there is for all."""
        kind, held = self.graph.kind(x), storage(x)
        if kind is None:
            return self.constant(x)
        if kind == SLOTS:
            raise Unrecordable("numbers of all slots in an operation of the framework")
        if kind == POSITION:
            y, table = self.w.fresh(x.numel()), self.table(x)
            self.w.write(PLACE, table.address, *y.operand, x.numel())
            return y
        if held in self.graph.paths and held not in self.vectors:
            self.vectors[held] = self._state(held, x)
        if held not in self.vectors:
            raise Unrecordable("arithmetic on the ids of tokens")
        if not x.is_contiguous():
            raise Unrecordable(f"strides {x.stride()} of the shape {tuple(x.shape)}")
        base = self.vectors[held]
        return Vector(base.held, x.numel(), base.begin + int(x.storage_offset()))

    def constant(self, x: Tensor, shape: Any = None) -> Vector:
        """One line, the same for every token."""
        x = self.computed(x)
        return self.w.constant(x if shape is None else x.expand(shape))

    def computed(self, x: Tensor) -> Tensor:
        """A constant, from today's weights."""
        return self.again(x, self.made)

    def map(self, code: int, x: Tensor, scale: float = 1.0, shift: float = 0.0) -> Vector:
        """scale f(x) + shift."""
        return self.w.map(code, self.vector(x), scale, shift)

    def join(self, node: Node, code: int, a: Any, b: Any) -> Vector:
        """Both as large as the result, or one of them a constant, or one number for `repeat` neighbours."""
        out = node.outs[0]
        if not self.varies(a) or (self.varies(b) and a.numel() < b.numel()):
            a, b = b, a
        if a.numel() != out.numel():
            raise Unrecordable(f"shapes {tuple(a.shape)} and {tuple(b.shape)} in {node.name}")
        if self.graph.kind(b) is None:
            return self.w.join(code, self.vector(a), self.constant(b, out.shape))
        repeat, shape = out.numel() // b.numel(), (1,) * (out.dim() - b.dim()) + tuple(b.shape)
        same = next((i for i, (n, m) in enumerate(zip(shape, out.shape)) if n != m), out.dim())
        if any(n > 1 for n in shape[same:]):  # a number of b is not for neighbours
            raise Unrecordable(f"shapes {tuple(a.shape)} and {tuple(b.shape)} in {node.name}")
        return self.w.join(code, self.vector(a), self.vector(b), repeat)

    def table(self, x: Tensor) -> Vector:
        """What depends on the position only, for all positions."""
        if id(x) not in self.tables:
            positions, length = torch.arange(self.w.capacity)[:, None], id(self.graph.length)
            rows = torch.vmap(lambda position: self.again(x, {length: position}).flatten())(positions)
            self.tables[id(x)] = self.w.constant(rows)
        return self.tables[id(x)]

    def again(self, x: Tensor, made: dict[int, Tensor]) -> Tensor:
        """x computed anew from today's weights and from what is `made`, without the roundings to lower precision."""
        if storage(x) in self.graph.mutated:
            raise Unrecordable("a constant that is written into")
        node = self.graph.makers.get(id(x))
        if id(x) in made or node is None:
            return made.get(id(x), x)
        given = (node.args, node.kwargs)
        if node.name not in SHAPES:  # these read no number of what they are given
            given = tree_map(lambda t: self.again(t, made) if isinstance(t, Tensor) else t, given)
        args, kwargs = given
        if node.name == SHAPES[0] and x.is_floating_point():
            found = torch.full(tuple(x.shape), float(args[2]))
        elif node.name in CASTS and x.is_floating_point() and args[0].is_floating_point():
            found = args[0] if x.dtype == torch.float64 else args[0].float()
        else:
            found = node.run(*args, **kwargs)
        for out, value in zip(node.outs, tensors(found)):
            made[id(out)] = value
        return made[id(x)]

    def memory(self, leaf: Tensor, *shape: int, turned: bool = False) -> int:
        """The address of a recurrent leaf that a whole op writes in place; turned: (n,m) of a leaf (m,n)."""
        path = self.graph.paths[storage(leaf)]
        if turned:
            self.w.turned.add(path)
        return self.w.state(path, "memory", *shape)

    def cache_of(self, state: Any) -> tuple[Any, ...]:
        """Where in a model's state the cache lies that these leaves are of."""
        path = self.graph.paths[storage(tensors(state)[0])]
        return path[: next(i for i, name in enumerate(path) if name in CACHES)]

    def of_the_token(self, x: Tensor) -> None:
        """Refuse to look up anything but the token itself."""
        if storage(x) != self.graph.tokens:
            raise Unrecordable("a table that is not read by the token itself")

    def _state(self, held: int, x: Tensor) -> Vector:
        """A recurrent leaf that operations of the framework read: of one token at a time, written at the end."""
        if self.w.at_once > 1:
            raise Unrecordable("a state in operations of the framework, for several tokens at once")
        path, size = self.graph.paths[held], x.untyped_storage().nbytes() // x.element_size()
        whole(size)
        self.w.state(path, "memory", size)
        self.plain.append((path, v := Vector(self.w.states[path]["memory"], size)))
        return v

    def run(self) -> Vector:
        """Write everything; where the logits will be."""
        for node in self.graph.live:
            self.vectors[storage(node.outs[0])] = self._emitted(node)
        for path, into in self.plain:
            new = self.vector(self.graph.written[path])
            self.w.write(MAP, *new.operand, *into.operand, into.size, SAME, *map(self.w.number, (1.0, 0.0)))
        return self.vector(self.graph.logits[:, -1])

    def _emitted(self, node: Node) -> Vector:
        if node.name in EMITS:
            return EMITS[node.name](self, node, *node.args, **node.kwargs)
        emit = getattr(node.run, "emit", None) if node.name.startswith("op:") else None
        if emit is None:
            raise Unrecordable(node.name)
        return emit(self, *node.args, **node.kwargs)
