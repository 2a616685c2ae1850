"""What every verdict says, whatever the runs were: scores with intervals, ranks, pairs.

    Outcome     a table that was judged                  of a comparison: Report (documents.py), with what training took
    ArmOutcome  an arm of it                             of anybody's runs: Judgement, with the Source of its rows

The two have these fields in common, under the same names; what one of them does not know it does not have.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.task._metric import Metric

FORMAT = 2  # of an outcome; 1 had no checksum


@dataclass(frozen=True)
class Score:
    """The mean over finished runs with its interval, and the score of every seed (None: the run failed)."""

    low: float | None
    high: float | None
    mean: float | None
    per_seed: list[float | None]


@dataclass(frozen=True)
class PairReport:
    """The verdict on two arms: `difference` is a - b with its interval, p the chance of it where there is none."""

    a: str
    b: str
    low: float | None
    high: float | None
    difference: float
    p: float | None
    resolved: bool
    verdict: str
    note: str = ""


@dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds would resolve the margin; None where no number does, or `more_text` times the test would."""

    low: int | None
    high: int | None
    more_text: float | None


class ArmOutcome:
    """What every arm of a verdict has.

    rank       the places that the verdicts leave open     letters   arms that share one are not resolved
    candidate  whether it may be the best                  reasons   why runs of it failed
    """

    name: str
    score: Score
    rank: list[int] | None
    letters: str
    candidate: bool
    finished: int
    failed: int
    failure_interval: tuple[float, float]
    status: str
    reasons: list[str]
    runs: list[Any]


A = TypeVar("A", bound=ArmOutcome)


class Outcome(Document, Generic[A]):
    """What every verdict has, arms in the order of their means; `margin` is in the unit of the metric."""

    metric: Metric
    alpha: float
    margin: float | None
    looks: int
    seeds: list[Any]
    against: str | None
    arms: list[A]
    pairs: list[PairReport]
    needed_difference: float | None
    detectable: float | None
    seeds_for_margin: SeedsNeeded | None
    noisiest: str | None
    spread_ratio: float | None
    report: str | None

    @property
    def scored(self) -> list[A]:
        """The arms with a finished run."""
        return [arm for arm in self.arms if arm.score.mean is not None]

    @property
    def best(self) -> list[str]:
        """The names of the arms that may be the best."""
        return [arm.name for arm in self.arms if arm.candidate]

    @property
    def first(self) -> str:
        """The arm that the others are shown against."""
        return self.arms[0].name

    @cached_property
    def by_names(self) -> dict[frozenset[str], PairReport]:
        """The verdicts by the two names."""
        return {frozenset((pair.a, pair.b)): pair for pair in self.pairs}

    def arm(self, name: str) -> A:
        """The arm of a name."""
        return next(arm for arm in self.arms if arm.name == name)

    def pair(self, names: Iterable[str]) -> PairReport:
        """The verdict on two arms, in whatever order they are named."""
        return self.by_names[frozenset(names)]

    def rows(self, groups: bool = False) -> list[dict[str, Any]]:
        """A row for every run: its arm, which of its runs it is, and its score (None: it failed).

        groups   a row for every run and group of the test instead: `group`, its `weight` in the score of the run, the
                 `score` in it, and as `whole` that of the run; one row without them for a run that has none
        """
        return [
            {"arm": arm.name, **self._named(run), **scored, **self._beside(arm, place)}
            for arm in self.arms
            for place, (run, score) in enumerate(zip(arm.runs, arm.score.per_seed))
            for scored in (self._grouped(arm, place, score) if groups else [{"score": score}])
        ]

    def frame(self, groups: bool = False) -> Any:
        """The rows as a pandas DataFrame."""
        try:
            import pandas
        except ImportError:
            raise UsageError("a frame needs pandas (pip install pandas); rows() gives the same without it") from None
        return pandas.DataFrame(self.rows(groups))

    def _named(self, run: Any) -> dict[str, Any]:
        """What a row calls a run."""
        return {"run": run}

    def _grouped(self, arm: A, place: int, score: float | None) -> list[dict[str, Any]]:
        """What the rows of a run say of every group of the test."""
        raise UsageError("a judgement keeps no groups of a test: they are in the table that it judged")

    def _beside(self, arm: A, place: int) -> dict[str, Any]:
        """What else a row says of a run of an arm."""
        return {}

    def __str__(self) -> str:
        from blockyard.compare.report.terminal import describe  # only who prints it needs the words

        return describe(self)


@dataclass(frozen=True)
class Source:
    """Where the rows of a judgement came from, and how they were read.

    columns   the column of every role                    found     the roles whose column nobody named
    design    unpaired: no two arms share a run; seeds: they share them; paired: they are judged by what they share
    pairs     what they are paired by, or share: seeds, samples
    runs      in all                                      samples   that every arm has, None where there are none
    margin    as it was asked for: a share of the score, or of all where the score is a share itself
    metrics   how many share the error                    notes     what whoever reads the verdicts should know
    """

    name: str
    files: list[str]
    rows: int
    columns: dict[str, str]
    found: list[str]
    design: str
    pairs: str
    runs: int
    samples: int | None
    margin: float
    metrics: int = 1
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class JudgedArm(ArmOutcome):
    """An arm of anybody's runs; `runs` are the names of its runs, in the order of its scores."""

    name: str
    score: Score
    rank: list[int] | None
    letters: str
    candidate: bool
    finished: int
    failed: int
    failure_interval: tuple[float, float]
    status: str
    runs: list[str]
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Judgement(Outcome[JudgedArm]):
    """The verdict on anybody's runs. `seeds` are those that all arms share; `further` the other metrics of the runs."""

    source: Source
    metric: Metric
    alpha: float
    margin: float | None
    looks: int
    seeds: list[str]
    against: str | None
    arms: list[JudgedArm]
    pairs: list[PairReport]
    needed_difference: float | None
    detectable: float | None
    seeds_for_margin: SeedsNeeded | None
    noisiest: str | None
    spread_ratio: float | None
    further: list["Judgement"] = field(default_factory=list)
    report: str | None = None
    format: int = FORMAT

    @property
    def first(self) -> str:
        """The baseline, where one was named."""
        return self.against or self.arms[0].name
