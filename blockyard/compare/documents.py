"""What a comparison writes down: its plan, every run's order and result, and the report.

    Plan        decided before the first run, plan.json              holds Arm, Data, Metric, Same, Speed
    Job         one run as a worker is told to do it                 named by the hash of what can change its figures
    RunResult   what a run left, runs/<key>/result.json
    Report      the outcome, result.json                             holds the plan, ArmReport, PairReport, Along

Units are said where they are not plain: losses are in the unit of the metric, training losses in nats a token or an
answer, times in seconds, memory in bytes. The documents know nothing of how they are made or shown.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from blockyard.compare.outcome import ArmOutcome, Outcome, PairReport, Score, SeedsNeeded
from blockyard.compare.split import Night
from blockyard.core import registry
from blockyard.core.document import Document, Json
from blockyard.task._exhibit import Exhibit
from blockyard.task._metric import Metric
from blockyard.tracker._base import About

Point = tuple[int, float | None]  # tokens, and a training loss
WIDTH = 64  # the width that a plan's learning rates are given for
FORMAT = 2  # of plan.json and of a run's result.json; 1 had no checksum


@dataclass(frozen=True)
class Training:
    """The unit in which training losses are shown, and what one nat of them is in it."""

    unit: str = "nats/token"
    per_nat: float = 1.0


@dataclass(frozen=True)
class Choice:
    """What to train on, so that every process can read it: a task, or the files of a text (none: the built-in one).

    words   the folder of a saved model by whose tokenizer it is read; empty: the codec is made for it
    """

    task: str | None
    paths: list[str]
    codec: str | None
    words: str = ""


@dataclass(frozen=True)
class Data(Document):
    """What was chosen, and what it was found to be; `scored` is how many tokens or bytes each role scores."""

    name: str
    hash: str
    task: str | None
    paths: list[str]
    codec: str | None
    summary: str
    scored: dict[str, int]
    training: Training = Training()
    bytes: dict[str, int] | None = None  # of a text, by split
    rows: dict[str, int] | None = None  # of data that are rows, by split
    words: str = ""  # the folder of the saved model by whose tokenizer it is read

    @property
    def choice(self) -> Choice:
        return Choice(self.task, self.paths, self.codec, self.words)


@dataclass(frozen=True)
class Then:
    """What a trained model becomes: a transform (its spec), its plan, and the training tokens that it is shown, or
    that the model `trains` on."""

    transform: Json
    tokens: int
    covers: dict[str, str]
    trains: bool = False

    @property
    def name(self) -> str:
        return str(self.transform["name"])


@dataclass(frozen=True)
class Arm:
    """One contestant: the system it is, what was typed for it, and what it costs.

    id            hash of the system (with its transforms) and which of its equals it is (`ordinal`)
    peak_bytes    of a training step            state_bytes   by length; None where it cannot read so far
    then          what it becomes once it is trained, in order: params, flops and state are of what it then is
    base          the id of the arm that is trained for it; empty where that is itself
    model_bytes   of the saved model
    training_flops_per_token    the mean over its program; None: three forwards
    optimiser_bytes    that its optimiser keeps beside the parameters; None: not known
    init          the folder of the model that it goes on from, which its system names by a hash; empty: it begins anew
    """

    label: str
    name: str
    system: Json
    hash: str
    ordinal: int
    id: str
    dim: int
    params: int
    body_params: int
    flops_per_token: float
    peak_bytes: int
    state_bytes: dict[str, int | None]
    overrides: dict[str, str] = field(default_factory=dict)
    then: list[Then] = field(default_factory=list)
    base: str = ""
    model_bytes: int = 0
    training_flops_per_token: float | None = None
    optimiser_bytes: int | None = None
    init: str = ""

    @property
    def optimiser(self) -> str:
        """Its own optimiser, with a schedule that it was given, as it is typed behind @; empty: that of all."""
        own, schedule = (self.system.get("settings", {}).get(name) for name in ("optimiser", "schedule"))
        if own is None:
            return ""
        given = own["settings"] | ({} if schedule is None else {"schedule": schedule})
        settings = ",".join(f"{key}={value}" for key, value in given.items())
        return f"{own['name']}:{settings}" if settings else str(own["name"])

    @property
    def schedule(self) -> str:
        """Its own schedule, or that of its optimiser; empty: that of all."""
        own, schedule = (self.system.get("settings", {}).get(name) for name in ("optimiser", "schedule"))
        usual = None if own is None else registry.find("optimiser", own["name"]).constant("schedule")
        return schedule or usual or ""

    @property
    def rates(self) -> float:
        """What the rates of its optimiser are in units of those of the plan, which are AdamW's."""
        own = self.system.get("settings", {}).get("optimiser")
        return 1.0 if own is None else registry.find("optimiser", own["name"]).constant("rates", 1.0)

    @property
    def rate_scale(self) -> float:
        """The peak rate of its runs for each unit of a rate of the plan: by its optimiser, and by its width."""
        return self.rates * math.sqrt(WIDTH / self.tuned_at)

    @property
    def tuned_at(self) -> int:
        """The width that its rate is given for: its own, or the `base` of an optimiser with a rule for others."""
        own = self.system.get("settings", {}).get("optimiser")
        if own is None:
            return self.dim
        base = own["settings"].get("base", registry.find("optimiser", own["name"]).schema.get("base"))
        return self.dim if base is None else base

    @property
    def training_flops(self) -> float:
        """Operations a token of training."""
        known = self.training_flops_per_token
        return 3 * self.flops_per_token if known is None else known


@dataclass(frozen=True)
class Same:
    """What all arms share. `rates` are those of the tuning grid, at width 64."""

    length: int
    batch: int
    schedule: str
    warmup: float
    weight_decay: float
    clip: float
    optimiser: str
    device: str
    precision: str
    workers: int
    threads: int
    rates: list[float]
    rate_rule: str

    @property
    def step_tokens(self) -> int:
        """Tokens of a training step."""
        return self.length * self.batch


@dataclass(frozen=True)
class Speed:
    """Measured seconds of a training step, and of one decoded token where there is one."""

    step: float
    token: float | None


@dataclass(frozen=True)
class Timings:
    """Seconds of a training step and of a decoded token in every round; no token of what does not go on from itself."""

    step: list[float]
    token: list[float]


@dataclass(frozen=True)
class Plan(Document):
    """Everything that is decided before the first run; `steps` and `speed`, by arm id, once speeds were measured.

    matched   what all arms get the same amount of: a size and a length of training
    looks     after how many seeds an arm the verdicts are looked at        against   the id of an arm, or all pairs
    bases     what is trained for arms that are transforms of it, and is no arm itself
    reach     the lengths that are scored too, in units of the training length; none: the usual ones
    swept     the settings that arms were made for every value of, in the order of the values in their labels
    tuned     by tuning seed the rate of every trained arm, and whether it lies at the edge of the grid
    earlier   what names the other plans whose verdicts over these runs were read before
    measured  how the speeds were found, where not by whole steps: of a plan that is only looked at
    night     how the figures were chosen, where a time was given for all of it
    reference_settings  of the references that were tuned, what was chosen for each among as many settings as rates
    """

    arms: list[Arm]
    data: Data
    metric: Metric
    matched: dict[str, float]
    same: Same
    tuning: str
    alpha: float
    margin: float
    looks: list[int]
    against: str | None
    seeds: list[int]
    tuning_seed: int
    versions: dict[str, str | int | None]
    references: dict[str, list[float]] = field(default_factory=dict)
    also: list[Metric] = field(default_factory=list)
    reach: list[float] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)
    tuned: dict[str, dict[str, tuple[float, bool]]] = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)
    save_seconds: float = 20.0
    speed: dict[str, Speed] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    bases: list[Arm] = field(default_factory=list)
    measured: str = ""
    night: Night | None = None
    reference_settings: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def trained(self) -> list[Arm]:
        """What is tuned and trained: the arms that are no transform of another, and the bases of the others."""
        return [*(arm for arm in self.arms if not arm.then), *self.bases]

    def arm(self, id: str) -> Arm:
        """The arm, or the base of one, that has this id."""
        return next(arm for arm in (*self.arms, *self.bases) if arm.id == id)

    @property
    def error(self) -> float:
        """The bound on the chance that any verdict of any look at these runs errs: each look has its own alpha."""
        return min(1.0, self.alpha * (1 + len(self.earlier)))

    def base(self, arm: Arm) -> Arm:
        """What is trained for an arm: another one where it is a transform of that."""
        return self.arm(arm.base) if arm.base else arm

    def __str__(self) -> str:
        from blockyard.compare.report.terminal import describe_plan  # only who prints it needs the words

        return describe_plan(self)


@dataclass(frozen=True)
class Job(Document):
    """One run. What cannot change its figures is no part of its key: paths, save_seconds, lengths, words, init.

    role      tune or final: which split it scores        lr   the peak rate of this width
    lengths   whether other lengths are scored too, at `reach` times this one
    then      the specs of what the run of the same job without them becomes, and `shown`: how many training tokens
              each of them that is shown data gets
    words     the folder of the tokenizer, and `init` of the model that it goes on from, where it does not begin
              anew; the codec and the system name what is in them
    """

    system: Json
    ordinal: int
    data: str
    task: str | None
    paths: list[str]
    codec: str | None
    steps: int
    seed: int
    role: str
    lr: float
    batch: int
    length: int
    schedule: str
    precision: str
    threads: int
    device: str
    micro: int | None
    save_seconds: float
    lengths: bool
    then: list[Json] = field(default_factory=list)
    shown: int = 0
    reach: list[float] = field(default_factory=list)
    words: str = ""
    init: str = ""

    @property
    def base(self) -> "Job":
        """The run that trains the model."""
        return replace(self, then=[], shown=0)

    @property
    def choice(self) -> Choice:
        return Choice(self.task, self.paths, self.codec, self.words)


@dataclass(frozen=True)
class RunOrder(Document):
    """To a worker: do this run in this folder, and tell these trackers of it; `about` is what they know it by."""

    job: Job
    folder: str
    do: str = "run"
    trackers: list[str] = field(default_factory=list)
    about: About | None = None


@dataclass(frozen=True)
class BenchOrder(Document):
    """To a worker: measure the speed of all these, in turns."""

    jobs: list[Job]
    rounds: int
    do: str = "bench"


@dataclass(frozen=True)
class BenchAnswer(Document):
    """From a worker: the timings of every job."""

    timings: list[Timings]


@dataclass(frozen=True)
class Progress(Document):
    """From a worker: how far a run is, and in a few words what was last seen inside."""

    step: int
    loss: float
    inside: str = ""


@dataclass(frozen=True)
class Notice(Document):
    """From a worker: words on something that went wrong beside the runs, said once for all that `of` names."""

    of: str
    notice: str


@dataclass(frozen=True)
class Probes:
    """What was found inside a model: recall and copying (of a text); horizons, ranks, firing, entropy a step."""

    horizon: list[float | None]
    rank: list[float | None]
    copying: float | None = None
    recall: float | None = None
    firing: list[float | None] = field(default_factory=list)
    entropy: list[float | None] = field(default_factory=list)


@dataclass(frozen=True)
class ByDepth:
    """How a run looked inside after so many tokens, a figure a step of the model, None for one that has none.

    stream    root mean square behind the step          massive    the largest number there over the median
    gradient  root of the sum of squares, as clipped    entropy    nats of its attention
    """

    tokens: int
    stream: list[float | None]
    massive: list[float | None]
    gradient: list[float | None]
    entropy: list[float | None]

    @staticmethod
    def of(tokens: int, figures: Mapping[str, float | None]) -> "ByDepth":
        """Of figures by step and name: `steps.0.part:stream`."""
        steps = list(dict.fromkeys(name.rpartition(":")[0] for name in figures))
        names = ("stream", "massive", "gradient", "entropy")
        return ByDepth(tokens, *([figures.get(f"{step}:{name}") for step in steps] for name in names))

    @property
    def words(self) -> str:
        """What to say of it while the run goes on."""
        known = [[value for value in values if value is not None] for values in (self.stream, self.massive)]
        if not all(known):
            return ""
        return f"stream {known[0][0]:.2g} to {known[0][-1]:.2g}, largest {max(known[1]):.0f} medians"


@dataclass(frozen=True)
class Became:
    """What a transform said of its work: what it covered, by path, what it passed over, and figures of its own."""

    name: str
    tokens: int
    covered: dict[str, str]
    left: list[str]
    report: dict[str, Any]
    trains: bool = False


@dataclass(frozen=True)
class Made:
    """What transforms made of a trained model: what it is now, as an arm says it, and the seconds that took."""

    params: int
    body_params: int
    model_bytes: int
    flops_per_token: float
    state_bytes: dict[str, int | None]
    seconds: float
    steps: list[Became]


@dataclass(frozen=True)
class RunResult(Document):
    """What a run left. `groups` are scores by group of the test, `weights` the groups' shares of it.

    status   finished, or failed for a `reason`             curve     (tokens, training loss) along the run
    lengths  scores at other lengths; None where it cannot read so far
    also     further figures of the same predictions, by the names of the plan's further metrics
    exhibits what a page shows of it beside the scores
    made     where it is a transform of another run, whose steps, seconds and curve these are: what it became
    depths   how it looked inside on the way
    """

    key: str
    status: str
    reason: str
    steps: int
    seconds: float
    curve: list[Point]
    groups: list[float | None] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    score: float | None = None
    lengths: dict[str, float | None] | None = None
    probes: Probes | None = None
    also: dict[str, float | None] = field(default_factory=dict)
    exhibits: list[Exhibit] = field(default_factory=list)
    made: Made | None = None
    depths: list[ByDepth] = field(default_factory=list)
    format: int = FORMAT

    @property
    def finished(self) -> bool:
        return self.status == "finished"


@dataclass(frozen=True)
class Run:
    """Where the run of a seed lies, below the folder of the comparison."""

    seed: int
    folder: str


@dataclass(frozen=True)
class ArmReport(ArmOutcome):
    """What came of an arm. Lists are by seed, in the order of the report's seeds, unless said otherwise.

    rank       the places that the verdicts leave open     letters   arms that share one are not resolved
    candidate  whether it may be the best                  trials    the mean losses of the tuning grid
    model      the best run's, None where none finished    exhibits  of that run
    also       further figures of every seed
    base       the id of what was trained: arms of one base share its training, which each of them counts
    made       what transforms made of the best run, with their reports
    depths     how the runs looked inside on the way
    groups     the scores of every seed by group of the test; none of a run that did not finish
    """

    name: str
    recipe: str
    params: int
    body_params: int
    flops_per_token: float
    tokens: int
    flops: float
    score: Score
    rank: list[int] | None
    letters: str
    candidate: bool
    finished: int
    failed: int
    failure_interval: tuple[float, float]
    learning_rate: float
    edge_of_grid: bool
    trials: list[float | None]
    train_tokens_per_s: float
    decode_tokens_per_s: float | None
    seconds: list[float]
    peak_bytes: int
    state_bytes: dict[str, int | None]
    curves: list[list[Point]]
    by_length: dict[str, float | None] | None
    lengths: list[dict[str, float | None] | None]
    probes: list[Probes | None]
    status: str
    runs: list[Run] = field(default_factory=list)
    model: Run | None = None
    reasons: list[str] = field(default_factory=list)
    also: list[dict[str, float | None]] = field(default_factory=list)
    exhibits: list[Exhibit] = field(default_factory=list)
    model_bytes: int = 0
    base: str = ""
    made: Made | None = None
    depths: list[list[ByDepth]] = field(default_factory=list)
    groups: list[list[float | None]] = field(default_factory=list)

    @property
    def speeds(self) -> list[float]:
        """Training tokens a second of the finished runs; without one, what was measured before the first run."""
        own = [self.tokens / spent for spent, score in zip(self.seconds, self.score.per_seed) if score is not None]
        return own or [self.train_tokens_per_s]

    @property
    def speed(self) -> float:
        """The median of the speeds."""
        return median(self.speeds)

    @property
    def times(self) -> list[float]:
        """Seconds of training a run took, or should have taken where none was finished."""
        return [self.tokens / speed for speed in self.speeds]

    @property
    def time(self) -> float:
        """The mean of the times."""
        return sum(self.times) / len(self.times)


@dataclass(frozen=True)
class TargetArm:
    """When an arm reached the common loss; `times` is its tokens over the quickest arm's, with the interval."""

    name: str
    tokens: float
    minutes: float
    runs: int
    times: tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class Target:
    """Time to the worst of all final training losses."""

    loss: float
    arms: list[TargetArm]


@dataclass(frozen=True)
class EqualTime:
    """Training losses when the quickest arm ends after `minutes`; `losses` are (arm, mean, least, largest), sorted."""

    minutes: float
    losses: list[list[Any]]
    best: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Along:
    """What the training losses say beside the verdicts: described, never ranked."""

    target: Target
    minutes: EqualTime | None
    crossing: list[list[str]]


@dataclass(frozen=True)
class Report(Outcome[ArmReport]):
    """The outcome of a comparison, arms in the order of their means; `weights` are the groups' shares of the test."""

    plan: Plan
    metric: Metric
    alpha: float
    margin: float | None
    looks: int
    seeds: list[int]
    against: str | None
    arms: list[ArmReport]
    references: dict[str, float]
    pairs: list[PairReport]
    needed_difference: float | None
    detectable: float | None
    seeds_for_margin: SeedsNeeded | None
    noisiest: str | None
    spread_ratio: float | None
    along: Along | None
    report: str | None = None
    weights: list[float] = field(default_factory=list)
    format: int = FORMAT

    def _named(self, run: Run) -> dict[str, Any]:
        return {"seed": run.seed, "folder": run.folder}

    def _grouped(self, arm: ArmReport, place: int, score: float | None) -> list[dict[str, Any]]:
        status = "failed" if score is None else "finished"
        groups = arm.groups[place] if arm.groups and score is not None else []
        told = [(at, self.weights[at], value) for at, value in enumerate(groups)] or [(None, None, None)]
        return [{"status": status, **dict(zip(("group", "weight", "score"), each)), "whole": score} for each in told]

    def _beside(self, arm: ArmReport, place: int) -> dict[str, Any]:
        told = {"params": arm.params, "tokens": arm.tokens, "learning_rate": arm.learning_rate}
        return told | {"seconds": arm.seconds[place]} | (arm.also[place] if arm.also else {})
