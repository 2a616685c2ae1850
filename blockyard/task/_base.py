"""The contract of a task that makes its own examples: they follow from a seed, one who knows the rule answers them.

An example is a row of tokens and, at the places where something is asked, the id that a causal model has to predict
there from the tokens at and before that place. A task's settings are its difficulty. Numbers are drawn from raw bits,
whose streams numpy promises to keep; every draw has a stream of its own, so that the first rows of a sample do not
depend on how many rows are asked for.

A task of other things than ids says so: `ends`, what a model needs at its ends; `metric` and `training`; `questions`,
`amounts` and `figure`, how it is scored. Its targets are floats then, not a number where nothing is asked. `also` and
`figures` say more of the same predictions, `exhibits` draws them.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from blockyard.core import registry
from blockyard.core.draw import Draw
from blockyard.core.errors import UsageError
from blockyard.core.settings import check_settings
from blockyard.core.spec import parse_value, split_words, write_value
from blockyard.task._exhibit import Exhibit
from blockyard.task._material import Ends, Material, ratio, token_ends
from blockyard.task._metric import ERROR, Metric

MOST = 1 << 20  # of anything that an example has
Predictor = Callable[[np.ndarray], np.ndarray]


class Examples(NamedTuple):
    """tokens (n,T) int64 inputs; targets (n,T) int64: the id to be predicted at that place, -1 where none is asked."""

    tokens: np.ndarray
    targets: np.ndarray


class Task(ABC):
    """What every task has. The settings are the keyword-only arguments of its constructor, kept under their names.

    grows      the settings that `stretched` multiplies
    variants   the settings with which it is held to what it promises
    first      how the sha256 of its first examples begins: they never change between versions
    training   of training losses: their unit, what one nat is in it
    usual      options that a comparison takes where the user says nothing, such as tokens
    """

    grows: ClassVar[tuple[str, ...]] = ("length",)
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    first: ClassVar[str] = ""
    metric: ClassVar[Metric] = ERROR
    exact: ClassVar[bool] = True  # whether who knows the rule makes no error
    training: tuple[str, float] = ("nats/answer", 1.0)
    usual: ClassVar[Mapping[str, float]] = {}
    vocab: int
    length: int  # T
    answers: range  # the ids that an answer can be

    @property
    def ends(self) -> Ends:
        """What a model needs at its ends."""
        return token_ends(self.vocab, asks=True)

    @property
    def scored_on(self) -> "Task":
        """The task whose examples the exams ask: this one, unless it is to be seen what training carries over to."""
        return self

    @property
    def of_ids(self) -> bool:
        """Whether it reads ids and asks for ids; other tasks say themselves how they are scored."""
        return self.ends.reads == "ids" and self.ends.says == "tokens"

    @abstractmethod
    def sample(self, seed: int, n: int) -> Examples:
        """n examples, the same for the same seed on every machine."""

    @abstractmethod
    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T) the right answers, each from the tokens at and before its place; elsewhere any id."""

    def questions(self, targets: np.ndarray) -> np.ndarray:
        """(n,) how much each example asks."""
        return (targets >= 0).sum(1)

    def amounts(self, said: Mapping[str, Any], targets: Any) -> Any:
        """(n,) or (n,K) what the predictions of each example cost, of arrays or of tensors: wrong answers."""
        ids = said["ids"] if "ids" in said else said["logits"].argmax(-1)
        return ((ids != targets) & (targets >= 0)).sum(1)

    def priced(self, said: Mapping[str, Any], examples: Examples) -> Any:
        """As `amounts`, for who prices predictions by what was shown, too."""
        return self.amounts(said, examples.targets)

    def figure(self, sums: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """(G,) the figures of groups, from their sums (G,K) and what they ask (G,)."""
        return ratio(sums, asked)

    @property
    def also(self) -> tuple[Metric, ...]:
        """The further figures of the same predictions."""
        return ()

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        """The figures of `also` by name, from the sums (K,) of all examples and what they ask."""
        return {}

    def exhibits(self, said: Mapping[str, np.ndarray], examples: Examples) -> list[Exhibit]:
        """What a page shows of these predictions."""
        return []

    def described(self) -> str:
        """An example in words, and what chance gives."""
        return f"{self.length} tokens of {self.vocab} kinds an example, {1 - self.chance:.1%} wrong by chance"

    def baselines(self) -> dict[str, Predictor]:
        """What can be had without the skill that is tested."""
        return {}

    def predictors(self) -> dict[str, Predictor]:
        """tokens (n,T) -> ids (n,T) by name: the oracle, chance and the baselines."""
        return {"oracle": self._oracle, "chance": self._guess, **self.baselines()}

    @property
    def chance(self) -> float:
        """The expected share of right answers of one who guesses evenly among the ids an answer can be."""
        return 1 / len(self.answers)

    @property
    def name(self) -> str:
        """The name of its file."""
        return name_of(self)

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings by name, as it was made."""
        return settings_of(self)

    def but(self, **changed: Any) -> "Task":
        """The task with some settings replaced."""
        return type(self)(**self.settings | changed)

    def stretched(self, factor: float) -> "Task":
        """The same task on the same vocabulary, `factor` times as long; refused where the vocabulary is too small."""
        if not factor > 0:
            raise UsageError(f"{self.name}: a task is stretched by a factor above 0, not by {factor}")
        return self.but(**{key: math.ceil(getattr(self, key) * factor) for key in self.grows})

    def __repr__(self) -> str:
        """The task as `make_task` reads it."""
        return written(self)

    def _oracle(self, tokens: np.ndarray) -> np.ndarray:
        """The solution, also of rows that break off early."""
        width = tokens.shape[1]
        whole = np.pad(tokens, ((0, 0), (0, self.length - width)), constant_values=-1)
        return self.solve(whole)[:, :width]

    def _guess(self, tokens: np.ndarray) -> np.ndarray:
        return self.answers.start + Draw(0, len(tokens), stream=1).below(len(self.answers), tokens.shape[1])


class DataTask(ABC):
    """What every task has that asks something of data. The settings are the keyword-only arguments of its constructor.

    of         the kinds of data it can be asked of, as sources name what they give
    learns     the word for what it teaches, where objectives of some recipes teach nothing else
    variants   the settings with which it is held to what it promises
    """

    of: ClassVar[tuple[str, ...]] = ()
    learns: ClassVar[str] = ""
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)

    @abstractmethod
    def material(self, data: Any) -> Material:
        """The task on this data; a `UsageError` says what the data lack."""

    @property
    def name(self) -> str:
        """The name of its file."""
        return name_of(self)

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings by name, as it was made."""
        return settings_of(self)

    def __repr__(self) -> str:
        """The task as `make_task` reads it."""
        return written(self)


def name_of(task: Any) -> str:
    """The name of a task's file."""
    return type(task).__module__.rpartition(".")[2]


def settings_of(task: Any) -> dict[str, Any]:
    """The settings of a task by name, as it was made."""
    names = inspect.signature(type(task).__init__).parameters.values()
    return {p.name: getattr(task, p.name) for p in names if p.kind is p.KEYWORD_ONLY}


def written(task: Any) -> str:
    """A task as `make_task` reads it."""
    return f"{name_of(task)}:{','.join(f'{key}={write_value(value)}' for key, value in settings_of(task).items())}"


def errors(predicted: np.ndarray, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """(n,) wrong answers and (n,) questions of each example; the error is the ratio of the two sums."""
    asked = examples.targets >= 0
    return (asked & (predicted != examples.targets)).sum(1), asked.sum(1)


def tasks() -> list[str]:
    """The names of all tasks that make their own examples."""
    return [name for name, entry in registry.entries("task").items() if not entry.constant("of")]


def make_task(text: str) -> "Task | DataTask":
    """The task of `name` or `name:key=value,key=value`."""
    name, _, tail = text.partition(":")
    entry = registry.find("task", name)
    settings: dict[str, Any] = {}
    for item in filter(None, split_words(tail)):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"task {text!r}: {item!r} is not key=value")
        settings[key.strip()] = parse_value(value.strip())
    settings = check_settings(entry, settings)
    return entry.load_named()(**settings)


def at_least(low: int, **settings: int) -> None:
    """Refuse settings that are too small, or too large for any example to be drawn."""
    for key, value in settings.items():
        if value < low:
            raise UsageError(f"{key}={value} must be at least {low}")
        if value > MOST:
            raise UsageError(f"{key}={value} must be at most {MOST}")


def fits(right: bool, message: str) -> None:
    """Refuse sizes that cannot be met together."""
    if not right:
        raise UsageError(message)


def blank(tokens: np.ndarray) -> np.ndarray:
    """Targets that ask for nothing yet."""
    return np.full(tokens.shape, -1, np.int64)


def look_up(queries: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,T) for every query the value beside the last of the keys (n,P) that equals it; 0 where none does."""
    found = np.zeros_like(queries)
    for key, value in zip(keys.T, values.T):
        found = np.where(queries == key[:, None], value[:, None], found)
    return found


def latest(tokens: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,T) the latest token at or before each place among those that count; the first token before there is one."""
    place = np.where(counts, np.arange(tokens.shape[1]), 0)
    return np.take_along_axis(tokens, np.maximum.accumulate(place, 1), 1)
