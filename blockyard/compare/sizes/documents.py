"""What several sizes write down above the comparisons of each: a plan, predictions, and the outcome of the whole.

    SizesPlan      decided before the first run, sizes.json          holds Place, Gate
    Foresight      predictions.json: what was said of a size before it began
    SizesReport    the outcome, result.json                          holds the plan, SizeOutcome, Crossing, Law, Held

A place is a size with a budget, and its comparison the folder of that name. Figures are in the unit of the metric;
`gap` is by how much an arm is better than the baseline, so above 0 it is ahead whichever way the metric points.
"""

from dataclasses import dataclass, field

from blockyard.compare.documents import Plan
from blockyard.compare.judge.speedup import Range
from blockyard.compare.outcome import Score
from blockyard.core.document import Document
from blockyard.task._metric import Metric

FORMAT = 3  # of sizes.json, predictions.json and the result.json above them; lower ones are of single comparisons


@dataclass(frozen=True)
class Place:
    """A size and a budget, as they were asked for, and the folder of their comparison."""

    params: float
    budget: float
    folder: str


@dataclass(frozen=True)
class Gate:
    """A condition that was written down before the first run.

    quantity   speedup, gap or score                  sign     >, >=, < or <=
    value      what it is held against                percent  a gap as a share of the baseline's score
    sizes      at how many sizes it must hold, at least; None: at every one
    """

    text: str
    quantity: str
    sign: str
    value: float
    percent: bool
    sizes: int | None

    def needed(self, sizes: int) -> int:
        """At how many of so many sizes it must hold."""
        return sizes if self.sizes is None else self.sizes


@dataclass(frozen=True)
class SizesPlan(Document):
    """What is decided before the first run of the first size.

    arms      their labels                            baseline    the arm that speed-ups and gates are held against
    axis      tokens or flops                         places      in the order that they run: small sizes first
    asked     what else names the question: looks, margin, alpha, tuning
    earlier   what names the other plans whose outcomes were read before
    """

    arms: list[str]
    baseline: str
    data: str
    axis: str
    length: int
    batch: int
    places: list[Place]
    gate: Gate | None
    alpha: float
    asked: dict[str, str]
    earlier: list[str] = field(default_factory=list)
    format: int = FORMAT

    @property
    def sizes(self) -> list[float]:
        """The sizes in rising order."""
        return sorted({place.params for place in self.places})

    @property
    def budgets(self) -> list[float]:
        """The budgets in rising order."""
        return sorted({place.budget for place in self.places})

    @property
    def error(self) -> float:
        """The bound on the chance that a gate is passed wrongly at any look: each look has its own alpha."""
        return min(1.0, self.alpha * (1 + len(self.earlier)))


@dataclass(frozen=True)
class Sketch(Document):
    """What a dry run answers: the plan, that of every size, and the seconds that each should take."""

    plan: SizesPlan
    plans: list[Plan]
    seconds: list[float]

    def __str__(self) -> str:
        from blockyard.compare.sizes.words import describe_sketch

        return describe_sketch(self)


@dataclass(frozen=True)
class Source:
    """A finished size that a prediction was made from: its scores by arm and seed."""

    folder: str
    scores: dict[str, list[float]]


@dataclass(frozen=True)
class ForeseenArm:
    """What is predicted of an arm: its score with an interval, and the verdict against the baseline.

    rule      how the score was predicted (foresee.py)     score   None where it is no loss
    verdict   better, worse or not resolved; empty of the baseline itself
    """

    name: str
    rule: str
    score: Range | None
    verdict: str


@dataclass(frozen=True)
class Foreseen:
    """A prediction for a place, made before it began."""

    place: Place
    made_from: list[Source]
    arms: list[ForeseenArm]


@dataclass(frozen=True)
class Foresight(Document):
    """All predictions of a folder, in the order that they were made."""

    foreseen: list[Foreseen] = field(default_factory=list)
    format: int = FORMAT


@dataclass(frozen=True)
class HeldArm:
    """A prediction beside what came: the mean score and the verdict, and whether each is as predicted."""

    name: str
    foreseen: ForeseenArm
    score: float | None
    verdict: str
    inside: bool | None
    right: bool | None


@dataclass(frozen=True)
class Held:
    """The predictions for a place beside what came of it."""

    foreseen: Foreseen
    arms: list[HeldArm]


@dataclass(frozen=True)
class ArmAt:
    """An arm at a place. `gap` and `speedup` are against the baseline and None where they are not told."""

    name: str
    params: int
    tokens: int
    score: Score
    finished: int
    failed: int
    verdict: str
    gap: Range | None = None
    speedup: Range | None = None


@dataclass(frozen=True)
class SizeOutcome:
    """What came of a place: its arms in the order of their means, and the slope of the baseline's loss (speedup.py)."""

    place: Place
    best: list[str]
    seeds: int
    arms: list[ArmAt]
    needed_difference: float | None
    slope: Range | None
    slope_by: str

    def arm(self, name: str) -> ArmAt | None:
        """The arm of a name, None where it was not there."""
        return next((arm for arm in self.arms if arm.name == name), None)


@dataclass(frozen=True)
class Crossing:
    """`ahead` led `behind` at a smaller size, and its lead goes with size.

    kind   lost: it is behind at the largest size; gone: it is not told from the other there; fades: it leads there too
    """

    ahead: str
    behind: str
    kind: str


@dataclass(frozen=True)
class Law:
    """The fit of an arm over sizes (scaling.py), or over sizes and tokens (surface.py): terms by name."""

    arm: str
    terms: dict[str, Range]


@dataclass(frozen=True)
class GateAnswer:
    """What became of the gate for an arm: passed, failed or undecided; `by_size` yes, no or open at every size."""

    arm: str
    answer: str
    by_size: list[str]


@dataclass(frozen=True)
class SizesReport(Document):
    """The outcome of several sizes. `level` is that of each gap and speed-up; `notes` what could not be told."""

    plan: SizesPlan
    metric: Metric
    data: str
    level: float
    sizes: list[SizeOutcome]
    crossings: list[Crossing]
    laws: list[Law]
    held: list[Held]
    ahead: Foreseen | None
    gate: list[GateAnswer]
    notes: list[str] = field(default_factory=list)
    report: str | None = None
    format: int = FORMAT

    def at_most(self) -> list[SizeOutcome]:
        """The outcome of every size at the largest budget, in rising order."""
        last: dict[float, SizeOutcome] = {}
        for found in sorted(self.sizes, key=lambda each: (each.place.params, each.place.budget)):
            last[found.place.params] = found
        return list(last.values())

    def __str__(self) -> str:
        from blockyard.compare.sizes.words import describe

        return describe(self)
