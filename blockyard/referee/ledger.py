"""What a referee writes down: ledger.json, written whole after every answer.

    Ledger   the noise floor, every try, every look at the held-out text        Asked   what init was asked
    Try      a change: what it was held against, at what level, its differences, the answer
    Look     the first baseline and the last one on the text that no try sees

Differences, effects and spreads are shares of `scale`, the mean score of the first baseline; where the score is a share
of answers itself they are in its unit, and `scale` is 1. Above 0 means that the change is better.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document, sealed, write_whole
from blockyard.referee.evidence import KEEP
from blockyard.referee.levels import level
from blockyard.task._metric import Metric

FORMAT = 1
OPEN, LEFT = "open", "left"  # a try that is at work, and one that another took the place of before it had an answer


@dataclass(frozen=True)
class Try(Document):
    """One change.

    arm, against   the ids of what was trained, and of its baseline          target   how a comparison would name it
    seeds          that were used, one a difference                          rate     that it was trained at
    chance         the smallest of its looks, over their shares of the level: kept where it is at most `level`
    evidence       log E against a change of the stated size                 reason   why a run of it failed
    """

    number: int
    change: str
    target: str
    arm: str
    against: str
    level: float
    rate: float
    answer: str = OPEN
    seeds: list[int] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    chance: float = 1.0
    evidence: float = 0.0
    reason: str = ""

    @property
    def mean(self) -> float | None:
        """What the change is better by; None where nothing was measured."""
        return sum(self.differences) / len(self.differences) if self.differences else None

    @property
    def decided(self) -> bool:
        """Whether it has an answer."""
        return self.answer not in (OPEN, LEFT)

    def __str__(self) -> str:
        from blockyard.referee.words import ruling  # only who prints it needs the words

        return ruling(self)


@dataclass(frozen=True)
class Look(Document):
    """What the held-out text says of the chain that ended with try `upto`: the first baseline's score less the last
    one's, with an interval that holds at `level` and counts seeds and text."""

    upto: int
    level: float
    seeds: int
    difference: float
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True)
class Asked(Document):
    """What is said once: the first baseline as a comparison would name it, the stated size of a change, the error of
    all tries, the most seeds that a try may be given, and whose rates are tuned."""

    baseline: str
    effect: float
    alpha: float
    budget: int
    tuning: str


@dataclass(frozen=True)
class Ledger(Document):
    """Everything that a referee knows.

    arm      the id of the first baseline                             rate     that it was tuned to, as in a plan
    floor    the scores of the runs that measured the noise           spread   of a difference, by them
    most     the most seeds of a try, by the effect and the spread
    """

    asked: Asked
    arm: str
    rate: float
    metric: Metric
    scale: float
    floor: list[float]
    spread: float
    most: int
    tries: list[Try] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    format: int = FORMAT

    @property
    def kept(self) -> list[Try]:
        """The chain: every change that was kept, in order."""
        return [each for each in self.tries if each.answer == KEEP]

    @property
    def now(self) -> str:
        """The baseline of the next try, as a comparison would name it."""
        return self.kept[-1].target if self.kept else self.asked.baseline

    @property
    def now_arm(self) -> str:
        """The id of that baseline."""
        return self.kept[-1].arm if self.kept else self.arm

    @property
    def now_rate(self) -> float:
        """The rate that it is trained at."""
        return self.kept[-1].rate if self.kept else self.rate

    @property
    def open(self) -> Try | None:
        """The try that has no answer yet."""
        return self.tries[-1] if self.tries and self.tries[-1].answer == OPEN else None

    def next_level(self) -> float:
        """The level of the next try."""
        return level(self.asked.alpha, len(self.tries) + 1, len(self.kept))

    def with_try(self, made: Try) -> "Ledger":
        """With this try in the place of its number, or as the next one."""
        return replace(self, tries=[*self.tries[: made.number - 1], made, *self.tries[made.number :]])

    def __str__(self) -> str:
        from blockyard.referee.words import told  # only who prints it needs the words

        return told(self)


def read_ledger(folder: Path) -> Ledger:
    """The ledger of a folder; UsageError where there is none."""
    path = folder / "ledger.json"
    if not path.exists():
        raise UsageError(f"{folder} holds no referee; begin with: blockyard referee init BASELINE --out {folder}")
    return Ledger.from_json(read_document(path, FORMAT, sealed_since=1), path)


def write_ledger(folder: Path, ledger: Ledger) -> Ledger:
    """Keep the ledger in a folder, whole or not at all; it is the answer."""
    write_whole(folder / "ledger.json", sealed(ledger.to_json()))
    return ledger
