"""What is asked of a row: its class, or a number; and what can be said of predictions of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from blockyard.core.spec import Spec, head, objective
from blockyard.task._exhibit import Exhibit, Line
from blockyard.task._metric import ERROR, Metric

BINS, FAR = 256, 16.0  # of differences of two scores, from -FAR to FAR: what the area under the curve is read from
PIECES = 10  # of a calibration curve
SHOWN = 12  # classes of a table of confusions


class Answer(ABC):
    """What is asked, and how a prediction of it is priced.

    says, learns, head, objective   what a model needs at its end        settings   what its ends are told
    """

    says: ClassVar[str]
    learns: ClassVar[str]
    head: ClassVar[Spec]
    objective: ClassVar[Spec]
    metric: ClassVar[Metric]

    @property
    @abstractmethod
    def also(self) -> tuple[Metric, ...]:
        """The further figures of the same predictions."""

    @property
    @abstractmethod
    def described(self) -> str:
        """What is asked, in a few words."""

    @property
    def settings(self) -> dict[str, Any]:
        """What the data decide of the ends."""
        return {}

    @abstractmethod
    def targets(self, values: np.ndarray) -> np.ndarray:
        """The cells of the target as a model learns them."""

    @abstractmethod
    def amounts(self, said: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(n,K) what the predictions of every row cost, and what further figures are made of."""

    @abstractmethod
    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        """The figures of `also`, from the sums (K,) of all rows."""

    @abstractmethod
    def exhibits(self, said: np.ndarray, targets: np.ndarray) -> list[Exhibit]:
        """What is seen of these predictions."""


@dataclass(frozen=True)
class Classes(Answer):
    """One of these classes; predictions are scores (n,K) of them, whose softmax is the chance of each."""

    names: tuple[str, ...]
    says, learns = "classes", "classes"
    head, objective = head("classes"), objective("classes")
    metric = ERROR

    @property
    def also(self) -> tuple[Metric, ...]:
        """The log loss and, of two classes, the area under the curve."""
        loss = Metric("log loss", "nats/row", "lower", 0.0)
        return (loss, Metric("AUC", "area", "higher", 0.0, 1.0)) if len(self.names) == 2 else (loss,)

    @property
    def described(self) -> str:
        return f"{len(self.names)} classes"

    @property
    def settings(self) -> dict[str, Any]:
        return {"classes": len(self.names)}

    def targets(self, values: np.ndarray) -> np.ndarray:
        places = {name: i for i, name in enumerate(self.names)}
        return np.array([places[spelt(each)] for each in values], np.int64)

    def amounts(self, said: np.ndarray, targets: np.ndarray) -> np.ndarray:
        chances = _log_softmax(said)
        found = np.zeros((len(said), 2 + 2 * BINS * (len(self.names) == 2)))
        found[:, 0] = said.argmax(1) != targets
        found[:, 1] = -np.take_along_axis(chances, targets[:, None], 1)[:, 0]
        if len(self.names) == 2:
            bins = np.clip((said[:, 1] - said[:, 0] + FAR) / (2 * FAR) * BINS, 0, BINS - 1).astype(np.int64)
            found[np.arange(len(said)), 2 + targets * BINS + bins] = 1
        return found

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        found = {"log loss": float(sums[1] / asked)}
        if len(self.names) == 2:
            no, yes = sums[2 : 2 + BINS], sums[2 + BINS :]
            pairs = no.sum() * yes.sum()
            found["AUC"] = float((yes * (no.cumsum() - no / 2)).sum() / pairs) if pairs else float("nan")
        return found

    def exhibits(self, said: np.ndarray, targets: np.ndarray) -> list[Exhibit]:
        chances, guess = np.exp(_log_softmax(said)), said.argmax(1)
        found = []
        if len(self.names) <= SHOWN:
            counts = np.zeros((len(self.names), len(self.names)), np.int64)
            np.add.at(counts, (targets, guess), 1)
            found.append(
                Exhibit("What was taken for what", "said", "true", labels=list(self.names), counts=counts.tolist())
            )
        binary = len(self.names) == 2
        sure, right = (chances[:, 1], targets == 1) if binary else (chances.max(1), guess == targets)
        what = f"chance of {self.names[1]}" if binary else "chance of the likeliest class"
        lines = [_curve("model", sure, right), Line("honest", [0.0, 1.0], [0.0, 1.0])]
        return [*found, Exhibit("Are the chances honest", f"{what}, as said", "share that was so", lines=lines)]


@dataclass(frozen=True)
class Numbers(Answer):
    """A number; predictions (n,1) are of the number less `mean` by `scale`."""

    name: str
    mean: float = 0.0
    scale: float = 1.0
    says, learns = "row_values", "values"
    head, objective = head("row_values"), objective("squared")
    metric = Metric("unexplained", "of the variance", "lower", 0.0)

    @property
    def also(self) -> tuple[Metric, ...]:
        """R2, and the errors in the unit of the target."""
        return (
            Metric("R2", "of the variance", "higher", None, 1.0), Metric("rmse", f"in {self.name}", "lower", 0.0),
            Metric("mae", f"in {self.name}", "lower", 0.0),
        )  # fmt: skip

    @property
    def described(self) -> str:
        return f"a number, {self.mean:.4g} on average with a deviation of {self.scale:.4g}"

    def scaled(self, values: np.ndarray) -> "Numbers":
        """The same by the mean and the deviation of these cells."""
        return replace(self, mean=float(values.mean()), scale=float(values.std()) or 1.0)

    def targets(self, values: np.ndarray) -> np.ndarray:
        return ((values - self.mean) / self.scale).astype(np.float32)[:, None]

    def amounts(self, said: np.ndarray, targets: np.ndarray) -> np.ndarray:
        y, off = targets[:, 0].astype(np.float64), (said - targets)[:, 0].astype(np.float64)
        return np.stack([off**2, np.abs(off), y, y**2], 1)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        spread = sums[3] - sums[2] ** 2 / asked
        return {
            "R2": float(1 - sums[0] / spread) if spread > 0 else float("nan"),
            "rmse": self.scale * float(np.sqrt(sums[0] / asked)), "mae": self.scale * float(sums[1] / asked),
        }  # fmt: skip

    def exhibits(self, said: np.ndarray, targets: np.ndarray) -> list[Exhibit]:
        said, true = (each[:, 0] * self.scale + self.mean for each in (said, targets))
        ends = [float(said.min()), float(said.max())]
        lines = [_curve("model", said, true), Line("honest", ends, list(ends))]
        return [
            Exhibit("What was so where so much was said", f"{self.name}, as said", f"mean {self.name}", lines=lines)
        ]


def spelt(cell: Any) -> str:
    """How the class of a cell is called."""
    return cell if isinstance(cell, str) else f"{cell:.12g}"


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64)
    scores = scores - scores.max(1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


def _curve(name: str, said: np.ndarray, true: np.ndarray) -> Line:
    """The mean of what was so, over the mean of what was said, in pieces of as many rows each."""
    pieces = np.array_split(np.argsort(said, kind="stable"), min(PIECES, len(said)))
    return Line(name, [float(said[each].mean()) for each in pieces], [float(true[each].mean()) for each in pieces])
