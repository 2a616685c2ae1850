"""What a comparison sees of a task and its data: rows to train on, exams, and how a prediction is scored.

    material = task.material(data)
    material.fit(system)                            the system with the ends that the task asks for
    material.order(length, batch, seed).next(step)  the arrays of a training step
    exam = material.exam("final", length)           held-out rows in groups that are honest for the data
    exam.groups(amounts)                            figures by group, of which a score is the weighted mean

A row's amounts (K numbers, such as nats or wrong answers) are summed over the rows of a group; a figure is made of a
group's sums and of how much was asked in it. Roles: `tune` for choosing rates, `final` for the verdict.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec, head, objective, objectives, phase, stem
from blockyard.data.rows import Arrays, Batches, Rows
from blockyard.task._exhibit import Exhibit
from blockyard.task._metric import Metric

GROUPS = 32
Predict = Callable[[Arrays], Mapping[str, np.ndarray]]
Files = dict[str, bytes]  # contents by name
ROLES = {"tune": "tune", "final": "test"}  # what a role scores on


@dataclass(frozen=True)
class Ends:
    """What a model needs at its ends to take on a task. A recipe that brings its own of the right sort keeps them.

    reads      what `tokens` holds: ids, or a word that stems use for what they read
    says       what a head has to predict: tokens, or a word that heads use for it
    learns     what an objective has to teach
    causal     whether tokens may see ahead; None: as the recipe has it
    asks       whether only some tokens are asked for, behind others that are the question
    settings   what the data decide (vocab, classes, channels...): told to every end that has such a setting and to
               what stands in its slots
    """

    reads: str
    says: str
    learns: str
    stem: Spec
    head: Spec
    objective: Spec
    causal: bool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    asks: bool = False

    def fit(self, system: Spec) -> Spec:
        """The system with these ends; what lies between them stays as it is."""
        model = system["model"]
        ends = {
            "stem": self._told(self._entry(model["stem"])),
            "head": self._told(model["head"] if _word(model["head"], "says", "tokens") == self.says else self.head),
        }
        changed: dict[str, Any] = {name: end for name, end in ends.items() if end != model[name]}
        if self.causal is not None and self.causal != model.get("causal", True):
            changed["causal"] = self.causal
        last = system["program"][-1]["objective"]
        if _word(last, "learns", "tokens") == self.learns:
            program = tuple(self._informed(each) for each in system["program"])
        else:
            program = self._taught(system["program"])
        if model.get("towers"):
            changed["towers"] = tuple(self._tower(each) for each in model["towers"])
        if changed:
            system = system.but(model=model.but(**changed))
        return system if program == system["program"] else system.but(program=program)

    def _tower(self, tower: Spec) -> Spec:
        """A tower that reads what this asks about, with what the data decide about its stem; others as they are."""
        if not tower.get("question"):
            return tower
        if not self.asks:
            raise UsageError(
                f"the tower {tower.name} reads what stands before an answer, and here every token is asked for; "
                f"take a task that asks, such as --task reverse"
            )
        model = tower["model"]
        return tower.but(model=model.but(stem=self._told(model["stem"])))

    def _informed(self, phase: Spec) -> Spec:
        """A phase with what the data decide about its objectives."""
        own, *also = (self._told(each) for each in objectives(phase))
        return phase.but(objective=own, **({"also": tuple(also)} if also else {}))

    def _entry(self, own: Spec) -> Spec:
        """The recipe's stem where it reads the same; else that of the task, with the positions that the recipe's adds
        where the task's has a place for them and says nothing of it."""
        if _word(own, "reads", "ids") == self.reads:
            return own
        place = registry.find("stem", self.stem.name).settings.get("position")
        if own.get("position") is None or place is None or place.usual or "position" in dict(self.stem.settings):
            return self.stem
        return self.stem.but(position=own["position"])

    def _taught(self, program: tuple[Spec, ...]) -> tuple[Spec, ...]:
        """The objective of the task for the whole run; phases stay where one changes the model."""
        learns = self._told(self.objective)
        if not any(each.get("apply") for each in program):
            return (phase(learns),)
        return tuple(Spec.of("phase", learns.name, dict(each.settings) | {"objective": learns}) for each in program)

    def _told(self, part: Spec) -> Spec:
        """The part with what the data decide about it and about what stands in its slots."""
        entry = registry.find(part.kind, part.name)
        told = {name: value for name, value in self.settings.items() if name in entry.schema}
        changed = {name: value for name, value in told.items() if part.get(name, entry.schema[name]) != value}
        for name, setting in entry.settings.items():
            held = part.get(name, setting.usual) if setting.slot is not None else None
            if isinstance(held, Spec) and (inner := self._told(held)) != held:
                changed[name] = inner
        return part.but(**changed) if changed else part


def token_ends(vocab: int, *, asks: bool = False) -> Ends:
    """The ends of what asks for the next token: for every one, or for some behind a question."""
    ends = stem("tokens"), head("lm"), objective("next_token")
    return Ends("ids", "tokens", "tokens", *ends, asks=asks, settings={"vocab": vocab})


def _word(part: Spec, name: str, default: str) -> str:
    """What a part says of itself in a constant of its class."""
    return registry.find(part.kind, part.name).constant(name, default)


@dataclass(frozen=True, eq=False)
class Exam:
    """Rows to score, in groups.

    length    tokens a row        group     (n,) which group each row belongs to
    asked     (G,) how much is asked in each group        weights   (G,) the groups' shares of the score, of sum 1
    figure    from the sums of groups (G,K) and what was asked (G,) to figures (G,)
    """

    rows: Rows
    length: int
    group: np.ndarray
    asked: np.ndarray
    weights: np.ndarray
    figure: Any

    def __len__(self) -> int:
        return len(self.group)

    def take(self, index: Any) -> Arrays:
        """The arrays of some rows."""
        return self.rows.take(index)

    def sums(self, amounts: np.ndarray) -> np.ndarray:
        """(G,K) the amounts (n,) or (n,K) of every row, summed by group."""
        columns = amounts.reshape(len(amounts), -1).astype(np.float64).T
        return np.stack([np.bincount(self.group, each, len(self.asked)) for each in columns], 1)

    def groups(self, amounts: np.ndarray) -> np.ndarray:
        """(G,) the figure of every group."""
        return self.figure(self.sums(amounts), self.asked)

    def whole(self) -> "Exam":
        """The same rows as one group."""
        return Exam(self.rows, self.length, np.zeros(len(self), np.int64), self.asked.sum(keepdims=True),
                    np.ones(1), self.figure)  # fmt: skip


def ratio(sums: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(G,) the first amount of each group by what was asked there."""
    return sums[:, 0] / asked


def exam(rows: Rows, length: int, asked: np.ndarray, figure: Any = ratio, groups: int = GROUPS) -> Exam:
    """An exam of rows that ask so much each (n,), in groups of neighbours of nearly equal numbers."""
    if not len(asked):
        raise UsageError("there is nothing to score on; give more data")
    groups = min(groups, len(asked))
    group = np.arange(len(asked)) * groups // len(asked)
    total = np.bincount(group, asked, groups)
    if not total.all():
        raise UsageError("a part of the test asks nothing; give more data")
    return Exam(rows, length, group, total, total / total.sum(), figure)


@dataclass(frozen=True)
class Referred:
    """What needs no training of ours: figures by group (G,), what must be said, and what was chosen for those that
    were tuned."""

    figures: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


class Material(ABC):
    """A task on its data, ready to be compared on.

    hash      names all that can change a figure        length   tokens a row, where that is not the user's to choose
    metric    what the score is                         also     other figures of the same predictions
    notes     what must be said before anything runs    training of training losses: their unit, what one nat is in it
    usual     options that a comparison takes where the user says nothing, such as tokens
    """

    name: str
    hash: str
    metric: Metric
    ends: Ends
    also: tuple[Metric, ...] = ()
    length: int | None = None
    notes: tuple[str, ...] = ()
    tokenizer: bytes | None = None
    training: tuple[str, float] = ("nats/answer", 1.0)
    bytes: dict[str, int] | None = None  # of a text, by split
    counts: dict[str, int] | None = None  # rows of data that are rows, by split: train, tune, test
    usual: Mapping[str, float] = {}
    plain_text: ClassVar[bool] = False  # whether it is text to be continued, which probes of copying understand

    @property
    @abstractmethod
    def summary(self) -> str:
        """A line for the plan: what it is, its hash, how much of it there is."""

    @property
    @abstractmethod
    def scored(self) -> dict[str, int]:
        """How many tokens each role scores."""

    @abstractmethod
    def order(self, length: int, batch: int, seed: int) -> Batches:
        """Training batches in an order that the seed alone decides."""

    @abstractmethod
    def exam(self, role: str, length: int) -> Exam:
        """The held-out rows of a role."""

    @abstractmethod
    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        """(n,) or (n,K) what the predictions of a batch cost, row by row, as a tensor of doubles."""

    def fit(self, system: Spec) -> Spec:
        """The system with the ends that this asks for."""
        return self.ends.fit(system)

    def at_lengths(self, role: str, length: int, reach: Sequence[float] = ()) -> Iterator[tuple[int, Exam]]:
        """Exams at other lengths than the training length, where there are any: at so many times that (`reach`), or at
        the usual ones."""
        yield from ()

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        """The figures of `also` by name, from the sums (K,) of all rows and what they ask."""
        return {}

    def exhibits(self, predict: Predict, exam: Exam) -> list[Exhibit]:
        """What a page shows of a trained model beside its scores; `predict` gives its predictions of some rows."""
        return []

    def beside(self, predict: Predict) -> Files:
        """Files by name that a saved model needs to be used on other data of this kind; `predict` as for exhibits."""
        return {}

    def references(self, role: str) -> dict[str, np.ndarray]:
        """(G,) figures by group of what needs no training of ours: the oracle, chance, classical rules."""
        return {}

    def tuned_references(self, role: str, settings: int) -> "Referred":
        """The references where each may choose among so many settings on the tuning rows, as every arm does among
        rates. What has nothing to set is as it is."""
        return Referred(self.references(role))
