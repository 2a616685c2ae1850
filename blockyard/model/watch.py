"""What forwards of training leave beside their predictions, until the optimiser's step is done."""

from typing import Any

import torch
from torch import Tensor

from blockyard.core.call import Captures, Penalty, Seen


class Watch:
    """What the forwards of an optimiser step leave beside their predictions: sums that parts keep, and penalties."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, Seen]] = {}
        self.penalties: list[Tensor] = []
        self.late: dict[tuple[Any, ...], Seen] = {}

    def take(self, captures: Captures) -> Captures:
        """The captures without what is kept here."""
        plain = {}
        for key, value in captures.items():
            if isinstance(value, Seen):
                self._see(key[2], key[3].partition(":")[2], value)
            elif isinstance(value, Penalty):
                self.penalties.append(value.loss)
            else:
                plain[key] = value
        return plain

    def penalty(self) -> Tensor | None:
        """The penalties since this was last asked, summed."""
        losses, self.penalties = self.penalties, []
        return torch.stack(losses).sum() if losses else None

    def everything(self) -> dict[str, dict[str, Seen]]:
        """All that was observed, by path and name, what backward has left included."""
        for (path, *_, name), value in self.late.items():
            self._see(path, name, value)
        self.late.clear()
        return self.seen

    def _see(self, path: str, name: str, value: Seen) -> None:
        mine = self.seen.setdefault(path, {})
        mine[name] = mine[name] + value if name in mine else value
