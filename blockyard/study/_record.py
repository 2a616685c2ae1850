"""What a study leaves: its predictions with what came of them, and the figures of its races and trials."""

from dataclasses import dataclass, field

from blockyard.compare.documents import ArmReport, Made, Metric, PairReport, Probes, Report, Score
from blockyard.core.document import Document

Measured = list[dict[str, float | None]]  # the figures of a trial, seed by seed; none where there was no number
FORMAT = 2  # of a record; 1 had no checksum and did not say so


@dataclass(frozen=True)
class Told:
    """A prediction and its finding: the value that was looked at, and the threshold it was held against."""

    text: str
    verdict: str
    value: float | None
    threshold: float


@dataclass(frozen=True)
class ArmRecord:
    """An arm of a race: what of its report is kept."""

    name: str
    params: int
    tokens: int
    score: Score
    lengths: list[dict[str, float | None] | None]
    rank: list[int] | None
    letters: str
    learning_rate: float
    edge_of_grid: bool
    probes: list[Probes | None]
    train_tokens_per_s: float
    state_bytes: dict[str, int | None]
    finished: int
    failed: int
    status: str
    decode_tokens_per_s: float | None = None
    model_bytes: int = 0
    base: str = ""
    made: Made | None = None

    @staticmethod
    def of(arm: ArmReport) -> "ArmRecord":
        return ArmRecord(**{name: getattr(arm, name) for name in ArmRecord.__dataclass_fields__})


@dataclass(frozen=True)
class RaceRecord:
    """A race: what it was on, and its verdicts."""

    task: str | None
    metric: Metric
    pairs: list[PairReport]
    references: dict[str, float]
    matched: dict[str, float]
    arms: list[ArmRecord]

    @staticmethod
    def of(report: Report) -> "RaceRecord":
        plan, arms = report.plan, [ArmRecord.of(arm) for arm in report.arms]
        return RaceRecord(plan.data.task, report.metric, report.pairs, report.references, plan.matched, arms)


@dataclass(frozen=True)
class Record(Document):
    """The outcome of a study. `seconds` are of training, `wall_seconds` of everything."""

    slug: str
    study: str
    tier: str
    predictions: list[Told]
    verdict: str
    seeds: int
    date: str
    seconds: float = 0.0
    wall_seconds: float = 0.0
    command: str = ""
    races: dict[str, RaceRecord] = field(default_factory=dict)
    trials: dict[str, Measured] = field(default_factory=dict)
    format: int = FORMAT
