"""What a score is: its name, its unit, which way is better, and between which bounds it lies."""

from dataclasses import dataclass

_BEFORE: dict[str, tuple[float, float | None]] = {"loss": (0.0, None), "error": (0.0, 1.0)}


@dataclass(frozen=True)
class Metric:
    """What a score is, such as loss in bits/byte, or error as a share of the answers.

    better      lower or higher
    low, high   the bounds that no score passes; None: there is none
    """

    name: str
    unit: str
    better: str = "lower"
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None and self.name in _BEFORE:  # a document from before bounds were said
            for name, bound in zip(("low", "high"), _BEFORE[self.name]):
                object.__setattr__(self, name, bound)

    @property
    def sign(self) -> int:
        """1 where lower is better, -1 where higher is: a score times this is a loss."""
        return {"lower": 1, "higher": -1}[self.better]

    @property
    def share(self) -> bool:
        """Whether it is a share of a whole: margins are then absolute, and equal scores no accident."""
        return self.low is not None and self.high is not None


ERROR = Metric("error", "error rate", "lower", 0.0, 1.0)
