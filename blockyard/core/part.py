"""The base of all parts, and the contract of each kind.

A part is one idea in one file. It is built on a `Site` and keeps no integer that an axis knows. What it does to
tensors depends on its kind:

    stem, head         (batch | x, call, state) -> (x | {name: prediction}, call, state)
    junction           (x, call, state) -> (x, call, state): another length, grid or width from here on
    mixer, channel     (x, call, state) -> (y, state)
    norm, activation   (x, call) -> y
    linear             (x, call) -> y, built with what it reads and writes
    router             built with the axis of experts: (x, call) -> (weights, shares)
    store              make(site, name, rows, columns, std) -> a tensor; linear(x, it, bias), embedding(ids, it) of it
    position           prepare(call); at_input(x, call); at_qk(q, k, call); by_distance(n); at_far(...); at_scores(...)
    pattern            window, sinks; leaves(q_pos, k_pos, call) -> which pairs of those that may see each other do;
                       levels(k, v, state, call) -> keys and values as they are read from some age on
    weigh              (scores, call) -> weights
    residual           start(x, call), read(carry, ports, call), write(carry, y, call), flush(carry, call), and
                       handed(carry, call) -> the call that the sublayer gets: all pure
    depth              plan(), order(), forward(flow, run)
    corrupt            (batch, draw) -> batch: some inputs replaced, and asked
    objective          (model, batch) -> {term: (sum, count, weight)}; counts(batch) before any forward
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from blockyard.core.axis import Axis
from blockyard.core.batch import Batch
from blockyard.core.call import Call, Seen
from blockyard.core.errors import UsageError
from blockyard.core.visible import distances, max_distance

Merged = tuple[dict[str, Any], dict[str, Tensor]]  # settings of the part that change, and its tensors by name


class Part(nn.Module):
    """The base of all parts. What a class says of itself:

    claims     what the part promises and the shared suite proves (core/claims.py: what it promises as built)
    known      a promise it cannot keep yet, with the reason
    needs      what a model must promise that an objective trains
    on_grid    whether it works on tokens that lie on a grid, and on no others
    unrecorded why what it does cannot be repeated as instructions when a model decodes; empty: it can
    around     what a small model around it needs when it is held to its claims: a part by kind, with its settings
    points     the names under which inner values can be read or replaced (hook points)
    renamed    what its settings and tensors are called now, by the names they had before: old specs and saved models
               still hold, and first numbers stay what they were; `slot:part.setting` where a slot took one over
    variants   the settings with which it is held to its claims, the smallest first
    replaces   the names of parts that this one took the place of, with what fills its slots for each
    ports      what a sublayer reads: `x` of the residual rule, `stream` the stream as it stands, which no rule has read
    attached_to  of what was attached to another part: the slot that holds that one; empty: it stands for itself
    """

    claims: Mapping[str, Any] = {}
    needs: ClassVar[tuple[str, ...]] = ()
    known: Mapping[str, str] = {}
    around: ClassVar[Mapping[str, Any]] = {}
    on_grid: ClassVar[bool] = False
    unrecorded: str = ""
    points: ClassVar[tuple[str, ...]] = ()
    renamed: Mapping[str, str] = {}
    replaces: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    ports: tuple[str, ...] = ("x",)
    attached_to: ClassVar[str] = ""
    path = ""  # where it stands in its model
    spec: Any = None  # what it was built from
    stream: Any = None  # the axis it stands on
    causal = True  # whether it was built to read from left to right only
    couples: Any = False  # whether rows depend on one another while it trains, so that a batch is not taken in pieces

    def prepare(self, call: Call) -> None:
        """Put what all layers share on `call.memo`, before the first step of a forward."""

    def update(self, seen: Mapping[str, Seen]) -> None:
        """Once an optimiser step, after it: what is learned from what all forwards of the step have observed."""

    def settle(self) -> None:
        """Once, when it was attached to a part that has numbers: what of its own follows from those."""

    def merged(self) -> Merged:
        """What becomes of the part that this is attached to, where the two are made one."""
        raise UsageError(
            f"{self.path}: {self.spec.kind}:{self.spec.name} is no part of a matrix, so it cannot be merged"
        )

    def asked(self, call: Call | None, *names: str) -> bool:
        """Whether a forward asks for any of these hook points: of what is not made where nobody looks."""
        return call is not None and call.points is not None and any((self.path, name) in call.points for name in names)

    def gated(self, h: Tensor) -> Tensor | None:
        """Of an activation: act(g) x of h = [g | x] (..., 2D), where it has that in one pass; None: it has not."""
        return None

    def times(self, factor: Tensor) -> dict[str, Tensor]:
        """Of a norm: its own tensors, by name, with which each channel it writes is `factor` (D) times what it was;
        empty: it has no gain for each channel."""
        return {}

    def point(self, name: str, value: Tensor, call: Call | None) -> Tensor:
        """`value`, captured or replaced where this forward asks for this hook point."""
        if call is None or call.points is None:
            return value
        action = call.points.get((self.path, name))
        if action is None:
            return value
        if action == "read":
            call.capture(self.path, name, value)
            return value
        return action(value)


class Stem(Part, ABC):
    """From a batch to the stream: `(batch, call, state) -> (x, call, state)`. It alone knows how its tokens lie.

    reads       what `batch.tokens` holds: ids, or the name that a task gives to what it holds otherwise
    grid        the rows and columns on which its tokens lie, from when it is built; empty: they lie in a row
    """

    reads: ClassVar[str] = "ids"
    grid: tuple[int, ...] = ()

    @property
    def lead(self) -> int:
        """How many virtual tokens stand before each row: the rows that the store of its table has behind it."""
        return sum(each.virtual for name, each in self.named_children() if name == "store" and isinstance(each, Store))

    @abstractmethod
    def example(self, rows: int, length: int, draw: Any = None) -> Batch:
        """A batch of the right shape with about so many tokens a row, to be counted, measured and tested with.

        draw   a generator for its numbers; none: they mean nothing
        """


class Head(Part):
    """From the stream to predictions: `(x, call, state) -> ({name: prediction}, call, state)`.

    says   what it predicts, which is the name of its prediction: tokens (as `logits`), or the word of a task
    """

    says: ClassVar[str] = "tokens"

    def ahead(self, x: Tensor, shown: Tensor, call: Call) -> tuple[dict[str, Tensor], Call, Any]:
        """From the stream to predictions of the next N tokens of each, (B,T,N,...), of which `shown` (B,T,N-1) has the
        ids of all but the last. No prediction depends on what is shown at its own place or behind it."""
        raise UsageError(
            f"{self.path}: {self.spec.kind}:{self.spec.name} says one token from each place, and several are asked for"
        )


class Junction(Part):
    """Between steps: `(x, call, state) -> (x, call, state)`, with another length, grid or width from here on."""

    out: Any = None  # the axis that later steps stand on, where the width changes
    grid: tuple[int, ...] | None = None  # on which tokens lie from here on; None: on the same, or not known


Draws = Callable[[str, tuple[int, ...]], Tensor]  # numbers in [0,1) of a shape, by a name


class Corruption(Part, ABC):
    """What training takes away and asks for: `(batch, draw) -> batch`, a function of the two alone.

    The batch it gives has other inputs at some tokens, and targets: what stood there where it is asked, nothing
    elsewhere. It never asks for a token that does not count, nor for one whose target is below 0 on the way in.

    Of ids nothing is -1. Of tokens that are vectors it is no number, and targets on the way in are another one's.

    share     of the tokens that it may ask for, how many it asks for on average
    numbers   of a token that it asks for; 0: it is an id
    """

    share: float
    numbers: int = 0

    @abstractmethod
    def forward(self, batch: Batch, draw: Draws) -> Batch:
        """The batch with other inputs, and what is asked."""

    def cells(self, tokens: Tensor) -> Tensor:
        """(B,T) the ids that can be asked, or (B,T,K) the numbers of what can."""
        return tokens

    def example(self, rows: int, length: int, draw: torch.Generator) -> Batch:
        """A batch of so many tokens a row that this can be tried on."""
        return Batch(torch.randint(0, 2, (rows, length), generator=draw))


class Objective(Part, ABC):
    """`(model, batch) -> {term: (sum, count, weight)}`: the loss is the weighted sum of the terms' means.

    learns     what it teaches the head to predict: tokens, or a word that tasks use for it
    forwards   of a model as large as the one that trains, without a backward, beside the one that trains; in a step
    """

    learns: ClassVar[str] = "tokens"
    forwards: ClassVar[float] = 0.0

    @classmethod
    def speaks(cls, settings: dict[str, Any]) -> int:
        """How often the head speaks in a step beside the one time at the model's end, with these settings."""
        return 0

    def adopt(self, model: Any, before: Any) -> None:
        """Once, when its first phase begins: what is made of the model as it then is, such as a teacher.

        before   the model as the phase before left it: another one where this phase restarts or transforms it
        """

    def prepare(self, batch: Batch, draw: Draws) -> Batch:
        """Once a step, before anything is counted: the batch to train on; `draw(name, shape)`: numbers in [0,1)."""
        return batch

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """How much a batch asks for, by term; known before any forward."""

    def after(self, model: Any) -> None:
        """Once a step, after the optimiser's."""

    def example(self, model: Any, rows: int, length: int, draw: Any = None) -> Batch:
        """A batch that this can be tried on, with targets where the tokens are none."""
        return model.example(rows, length, draw)


class Sublayer(Part):
    """A mixer or a channel: `(x, call, state) -> (y, state)`; alone, the call and the state may be left out."""

    written: Any = None  # the axis of what it writes, where that is not the stream: a rule that widens it takes that
    value_axis: Any = None  # the axis of what stands at its point `v`, where a rule may gate that channel by channel

    def __call__(self, x: Tensor, call: Call | None = None, state: Any = None) -> tuple[Tensor, Any]:
        if call is None:
            call = Call.plain(x)
        return super().__call__(x, call, state)


class Linear(Part):
    """A projection: `(x, call) -> y`, built with what it reads and writes, whether it has a bias, and a gain."""

    def plus(self, up: Tensor, down: Tensor) -> Merged:
        """What the projection is with up (writes, R) down (R, reads) added to its matrix."""
        raise UsageError(f"{self.path}: linear:{self.spec.name} has no matrix that another could be added to")

    def matrix(self) -> Tensor:
        """(writes, reads) the matrix that it multiplies by, in full."""
        raise UsageError(f"{self.path}: linear:{self.spec.name} does not say which matrix it is")

    def become(self, matrix: Tensor, times: Tensor | None = None) -> Merged:
        """What the projection is with another matrix (writes, reads), and its bias `times` a factor (writes)."""
        raise UsageError(f"{self.path}: linear:{self.spec.name} is no full matrix; fold it before anything is attached")


class Position(Part):
    """How positions enter: at the stem's output, on queries and keys, or as a bias by distance. Defaults do nothing.

    cap        the distance from which on a query reads a key by `at_far`; None: none is that far
    rescores   whether it changes scores by `at_scores`, which must then be made one by one
    """

    cap: int | None = None
    rescores: ClassVar[bool] = False

    @property
    def elsewhere(self) -> tuple[Axis, Tensor] | None:
        """An axis whose channels others number otherwise, and their numbers in our order; None: all number alike."""
        return None

    def at_input(self, x: Tensor, call: Call) -> Tensor:
        """x (B,T,D), the stem's output, with what is added to or done with it."""
        return x

    def at_qk(self, q: Tensor, k: Tensor, call: Call) -> tuple[Tensor, Tensor]:
        """q, k (B,T,H,K) rotated by their own positions, before the keys are stored."""
        return q, k

    def turned(self, x: Tensor, steps: Tensor, call: Call) -> Tensor:
        """x (B,T,H,K), queries or keys as `at_qk` left them, as if they stood so many steps (B or 1,T) further."""
        if type(self).at_qk is not Position.at_qk:
            raise UsageError(f"{self.path}: position:{self.spec.name} does not say how it turns what stands elsewhere")
        return x

    def at_far(self, q: Tensor, k: Tensor, call: Call, positions: Tensor) -> tuple[Tensor, Tensor]:
        """q (B,T,H,K) and some keys k (B,S,G,K), as `at_qk` left them, as they meet at a distance of at least `cap`.

        positions   (B or 1,S) of these keys
        """
        return q, k

    def at_scores(self, scores: Tensor, q: Tensor, call: Call, positions: Tensor | None) -> Tensor:
        """(B,H,T,S) other scores, bias included; they are minus infinity where a query does not see a key.

        positions   (B,S) of the keys, where a cache dropped some
        """
        return scores

    def by_distance(self, n: int) -> Tensor | None:
        """(H, 2n-1): what is added to a score whose key lies d behind its query, at index d + n - 1."""
        return None

    def bias(self, call: Call, positions: Tensor | None = None) -> Tensor | None:
        """(B or 1,H,T,S): what is added to each score; by distance, where a part does not know more of both ends.

        positions   (B,S) of the keys, where a cache dropped some
        """
        bound = max_distance(call)
        table = self.by_distance(bound)
        if table is None:
            return None
        apart = distances(call, positions)
        return table.to(apart.device)[:, apart + bound - 1].transpose(0, 1)


WAYS = {  # what a position does, in words, by the method that does it
    "at_input": "adds to what the stem gives",
    "at_qk": "turns queries and keys",
    "by_distance": "adds to scores",
    "bias": "adds to scores",
    "at_scores": "changes scores",
}


def acting(position: Position | None, *ways: str) -> Position | None:
    """A position in a slot where only these methods of it are asked; one that has none of them would do nothing."""
    if position is not None and not any(_does(position, way) for way in ways):
        does = next((words for way, words in WAYS.items() if _does(position, way)), "does nothing")
        wanted = " or ".join(dict.fromkeys(WAYS[way] for way in ways))
        raise UsageError(f"{position.path}: position:{position.spec.name} {does}; here one is needed that {wanted}")
    return position


def _does(position: Position, way: str) -> bool:
    return getattr(type(position), way) is not getattr(Position, way)


class Level(NamedTuple):
    """Keys and values (B,S,G,K) as they are read at a distance of at least `age`."""

    age: int
    k: Tensor
    v: Tensor


class Pattern(Part):
    """Which keys a query reads of those that it may see, by where both stand. The defaults leave nothing out.

    window    how many of the last tokens are seen, the own one counted; None: all
    sinks     how many of the first tokens are always seen
    chooses   whether it leaves out more by `leaves`, which takes a mask; a cache keeps what window and sinks say
    blurs     whether what is further away is read otherwise, by `levels`, which keeps a cache of its own
    """

    window: int | None = None
    sinks: int = 0
    chooses: ClassVar[bool] = False
    blurs: bool = False

    @property
    def key(self) -> Hashable:
        """Two patterns of one key see the same in a forward."""
        return self.window, self.sinks

    def leaves(self, q_pos: Tensor, k_pos: Tensor, call: Call) -> Tensor:
        """(B or 1,T,S) whether the query at q_pos (B or 1,T) reads the key at k_pos (B or 1,S)."""
        raise TypeError(f"{type(self).__name__} is a pattern that chooses, without `leaves`")

    def levels(self, k: Tensor, v: Tensor, state: Any, call: Call) -> tuple[list[Level], Any]:
        """All keys and values at every age from 0 on, those of the past before k, v (B,T,G,K); and the new leaves."""
        raise TypeError(f"{type(self).__name__} is a pattern that blurs, without `levels`")


class Weigh(Part):
    """What a query makes of its scores: `(scores, call) -> weights`, both (B,H,T,S); unseen keys are minus infinity.

    scale     factor on the products of queries and keys; None: one over the root of a key's channels
    fused     whether it is the softmax itself, of which no weight need be kept
    """

    fused: ClassVar[bool] = False
    scale: float | None = None


class Scaling(Part, ABC):
    """A norm that can be undone: y = (x - offset) / scale, so that a head can put back what a stem took away."""

    @abstractmethod
    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """offset, scale (..., 1) of x (..., L)."""

    def forward(self, x: Tensor, call: Call | None = None) -> Tensor:
        """x (..., L) without what its statistics say."""
        offset, scale = self.statistics(x)
        return (x - offset) / scale


class Store(Part, ABC):
    """How a matrix (rows, columns) is kept: the part that asks for it owns the tensor, the store knows what it means.

    `called` is the name that its tensors had before, whoever owned them. `virtual`: how many rows it has behind those
    of the matrix, for ids behind the last; in a stem they stand, in order, before the first token of every row.
    """

    called: ClassVar[str] = ""
    virtual: int = 0
    name = ""  # of the tensor, in the part that owns it

    @abstractmethod
    def make(self, site: Any, name: str, rows: Any, columns: Any, std: float, **use: Any) -> Tensor:
        """The tensor of a normal matrix, from a factory of `site`; `use` as for `site.param`."""

    @abstractmethod
    def linear(self, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        """x (..., columns) -> (..., rows)."""

    @abstractmethod
    def embedding(self, ids: Tensor, matrix: Tensor) -> Tensor:
        """The rows of these ids (...) -> (..., columns)."""

    @abstractmethod
    def full(self, matrix: Tensor) -> Tensor:
        """(rows, columns) the matrix in plain numbers."""

    def int8(self, matrix: Tensor) -> tuple[Tensor, Tensor] | None:
        """Codes (rows, columns) of 8 bits and scales (rows, 1), where the matrix is kept so; None: it is not."""
        return None


class Router(Part, ABC):
    """Which experts a token goes to: `(x, call) -> (weights, shares)`, both (B,T,E).

    A weight is zero where a token does not go; by the shares loads are evened.
    """

    @abstractmethod
    def active(self, call: Call) -> int:
        """To how many experts a token goes at most in such a forward: what it costs is counted by it."""


class Residual(Part):
    """How a step reads the stream and writes to it. The default carry is the stream itself."""

    wider: Any = None  # the axis that later steps stand on, set by `before`, where what is written widens the stream

    def before(self, part: Part, site: Any) -> None:
        """Once, when the sublayer behind it is built, at the rule's own site: what it needs of that one."""

    def start(self, x: Tensor, call: Call) -> Any:
        """The carry of a stream x (B,T,D), before the first step."""
        return x

    def read(self, carry: Any, ports: tuple[str, ...], call: Call) -> Any:
        """What a sublayer reads: one (B,T,D) for its port `x`, a tuple where it has several. Never of `stream`."""
        return carry

    def handed(self, carry: Any, call: Call) -> Call:
        """The call that the sublayer gets, and `write` after it: with hook points that the rule asks for, say."""
        return call

    def write(self, carry: Any, y: Tensor, call: Call) -> Any:
        """The carry after a sublayer wrote y (B,T,D)."""
        return carry + y

    def flush(self, carry: Any, call: Call) -> Tensor:
        """The stream (B,T,D) as the head, or another rule, reads it."""
        return carry


class Depth(Part):
    """A program over blocks: which are built (`plan`), and what runs when (`forward`, given `run`)."""

    blocks: tuple[tuple[int, ...], ...] = ()  # the steps of each planned block, given by the model

    def plan(self) -> list[tuple[str, int]]:
        """(block name, most loops) of every block to build, in order."""
        raise TypeError(f"{type(self).__name__} is a depth part without a plan")

    def laid(self, names: tuple[str, ...]) -> Any:
        """The spec of a program that runs these blocks instead, each once and in order, with nothing else changed."""
        raise UsageError(f"depth:{self.spec.name} decides what runs when, so its blocks cannot be laid anew")

    def runs(self) -> list[float] | None:
        """How often each planned block runs at a step of training, on average, where that is drawn; None: it is not."""
        return None

    def order(self) -> list[tuple[int, int]]:
        """Every (step, loop) that a forward may run, in order: the static upper bound."""
        loops = [count for _, count in self.plan()]
        return [(step, loop) for steps, n in zip(self.blocks, loops) for loop in range(n) for step in steps]

    def forward(self, flow: Any, run: Any) -> Any:
        """The flow after all that runs; `run(flow, step, loop)` runs one step."""
        for step, loop in self.order():
            flow = run(flow, step, loop)
        return flow
