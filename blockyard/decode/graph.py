"""What of a recorded token depends on the token, what on its position only, and what on nothing.

    graph = traced(model, int8_cache)      held against a recording at another place of another text

Tensors are told apart by their storage: a view is what it is a view of. What nobody reads in the end is left out.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from blockyard.decode.ragged import prefill
from blockyard.decode.record import Node, Recording, Unrecordable, record
from blockyard.model.model import Model

TOKEN, POSITION, SLOTS = "token", "position", "slots"
SHAPES = ("aten.new_full.default", "aten.new_zeros.default", "aten.zeros_like.default", "aten.ones_like.default")
CACHES = ("cache", "recent")  # leaves that hold a slot a token
Path = tuple[Any, ...]


def storage(x: Tensor) -> int:
    """What two views of the same memory have in common."""
    return x.untyped_storage()._cdata


def leaves_of(tree: Any, path: Path = ()) -> list[tuple[Path, Tensor]]:
    """Every tensor of a state's leaves with its path: the two numbers of a place, then names."""
    if isinstance(tree, Tensor):
        return [(path, tree)]
    named: dict[Any, Any] = tree._asdict() if hasattr(tree, "_fields") else tree
    return [found for name, value in named.items() for found in leaves_of(value, path + steps_of(name))]


def within(tree: Any, path: Path) -> Any:
    """What stands at such a path."""
    while path:
        named: dict[Any, Any] = tree._asdict() if hasattr(tree, "_fields") else tree
        name = next(name for name in named if path[: len(steps_of(name))] == steps_of(name))
        tree, path = named[name], path[len(steps_of(name)) :]
    return tree


def steps_of(name: Any) -> Path:
    """The steps of a path that a name stands for: an address is two numbers."""
    return name if isinstance(name, tuple) else (name,)


class Graph:
    """The live operations of a recording, and what each storage stands for."""

    def __init__(self, recording: Recording) -> None:
        before, after = recording.before, recording.after
        self.logits, self.nodes, self.length = after.logits, recording.nodes, before.length
        self.tokens = storage(recording.tokens)
        self.mutated = {storage(x) for node in self.nodes if node.mutates for x in node.outs}
        assert after.state is not None
        self.like = after.state  # a state of this model with all its leaves
        self.paths = {storage(x): path for path, x in leaves_of(before.leaves)}
        self.written = dict(leaves_of(after.state.leaves))
        self.kinds: dict[int, str] = dict.fromkeys(self.paths, TOKEN)
        self.kinds |= {self.tokens: TOKEN, storage(before.length): POSITION}
        self.kinds[storage(before.positions)] = SLOTS
        self.makers = {id(x): n for n in self.nodes for x in n.outs if not any(x is y for y in n.ins)}
        self.live = self._live([node for node in self.nodes if self._depends(node)])
        self._keeps_to_its_state()

    def kind(self, x: Any) -> str | None:
        """What a tensor depends on; None: on nothing."""
        return self.kinds.get(storage(x)) if isinstance(x, Tensor) else None

    def _depends(self, node: Node) -> bool:
        """Enter what a node's results depend on; whether it computes something of the token."""
        given = set() if node.name in SHAPES else {self.kind(x) for x in node.ins} - {None}
        kind = next((k for k in (TOKEN, SLOTS, POSITION) if k in given), None)
        held = {storage(x) for x in node.ins}
        view = bool(held) and all(storage(x) in held for x in node.outs)
        if kind == TOKEN and node.mutates:
            raise Unrecordable(f"{node.name} writes into a tensor")
        if kind and not node.outs:
            what = "what a token says" if kind == TOKEN else "where a token stands"
            raise Unrecordable(f"a branch on {what} ({node.name})")
        if kind and not view:
            self.kinds |= {storage(x): kind for x in node.outs}
        return kind == TOKEN and not view

    def _live(self, nodes: list[Node]) -> list[Node]:
        wanted = {storage(x) for x in (self.logits, *self.written.values())}
        found = []
        for node in reversed(nodes):
            if wanted & {storage(x) for x in node.outs}:
                found.append(node)
                wanted |= {storage(x) for x in node.ins}
        return found[::-1]

    def readers(self, x: int) -> list[Node]:
        return [node for node in self.live if x in {storage(t) for t in node.ins}]

    def _keeps_to_its_state(self) -> None:
        """A whole op writes its state in place: it must be the only reader, and what it leaves the new state."""
        for x, path in self.paths.items():
            readers = self.readers(x)
            if not any(node.name.startswith("op:") for node in readers) or set(path) & set(CACHES):
                continue
            after = self.written.get(path)
            if len(readers) > 1 or after is None or storage(after) not in {storage(t) for t in readers[0].outs}:
                raise Unrecordable(f"the state {path} is read by more than what writes it")

    def alike(self, other: "Graph") -> None:
        """Refuse what is decided by where in a text a token stands, and is no tensor."""
        if [node.name for node in self.live] != [node.name for node in other.live]:
            raise Unrecordable("a part that does other things later in a text")
        for mine, theirs in zip(self.live, other.live):
            same = _plain((mine.args, mine.kwargs)) == _plain((theirs.args, theirs.kwargs))
            fixed = all(
                x is y or (x.shape == y.shape and torch.equal(x, y))
                for x, y in zip(mine.ins, theirs.ins) if not self.kind(x)
            )  # fmt: skip
            if not same or not fixed:
                raise Unrecordable(f"{mine.name} with a number that changes along a text")


def _plain(tree: Any) -> list[Any]:
    """Everything that is a number or a word, but for calls and parts."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if type(tree) in (list, tuple):
        return [x for each in tree for x in _plain(each)]
    return [tree] if isinstance(tree, (bool, int, float, str, torch.dtype)) else []


PLAIN = (bool, int, float, str, type(None))
KNOWN: WeakKeyDictionary[Model, tuple[Any, Graph | str]] = WeakKeyDictionary()  # a word: why there is none


def traced(model: Model, int8_cache: bool = False) -> Graph:
    """The graph of a model: of its second token, held against its third; kept until something about the model changes.

    Weights may change: what is made of them is made again whenever instructions are written. A refusal is kept as well.
    """
    held = [(id(x), x.dtype) for x in (*model.parameters(), *model.buffers())]
    facts = (int8_cache, [_facts(module) for module in model.modules()], held)
    known = KNOWN.get(model)
    if known is None or known[0] != facts:
        try:
            found = _recorded(model, int8_cache)
        except Unrecordable as why:
            found = str(why)
        KNOWN[model] = known = facts, found
    if isinstance(known[1], str):
        raise Unrecordable(known[1])
    return known[1]


def _recorded(model: Model, int8_cache: bool) -> Graph:
    _, state = prefill(model, torch.zeros(1, 1, dtype=torch.long), model.init_state(1, int8_cache=int8_cache))
    recording = record(model, state, 0)
    assert recording.after.state is not None
    graph = Graph(recording)
    graph.alike(Graph(record(model, recording.after.state, 1)))
    return graph


def _facts(module: Any) -> tuple[Any, ...]:
    """What a forward may ask a module that is no tensor."""
    simple = {name: value for name, value in vars(module).items() if isinstance(value, PLAIN)}
    return id(module), type(module), simple
