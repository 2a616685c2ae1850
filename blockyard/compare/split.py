"""How a given time is spent: the ways that fit, and the one that was chosen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """A way to spend a time. `told`: the difference that it resolves four times out of five, as a share of the loss.

    tokens   of every run            seconds  that all takes        passes  over the training text; None: not known
    peak     bytes of all runs at once
    """

    params: float
    seeds: int
    tokens: float
    seconds: float
    told: float | None
    peak: float
    passes: float | None = None


@dataclass(frozen=True)
class Night:
    """How the time that was given is spent: the way that was chosen, others beside it, the reasons.

    within   seconds        ram     bytes that all runs together may take        noise   where the spread is known from
    asked    what was fixed beside the time
    """

    within: float
    ram: float | None
    chosen: Split
    others: list[Split]
    reason: str
    noise: str
    asked: dict[str, str]

    @property
    def key(self) -> tuple[float, int]:
        """What names the chosen way."""
        return self.chosen.params, self.chosen.seeds
