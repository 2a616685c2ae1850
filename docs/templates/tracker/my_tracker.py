"""One table for all runs of a comparison, of their scores alone.

    <folder>/my_tracker.csv        role,arm,seed,score

Source   none
Family   trackers
Differs  nothing is told of a run before its end
"""

from pathlib import Path

from blockyard.tracker._base import About, Figures, Tracker


class MyTracker(Tracker):
    """A line a run; one that goes on, or is done again, has its line once."""

    def __init__(self, about: About) -> None:
        self.path = Path(about.folder) / "my_tracker.csv"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.names = f"{about.role},{about.arm},{about.seed},"
        kept = self.path.read_text().splitlines() if self.path.exists() else []
        self.path.write_text("".join(f"{line}\n" for line in kept if not line.startswith(self.names)))

    def point(self, step: int, figures: Figures) -> None:
        """Figures on the way: the loss, the rate, what is inside."""

    def end(self, step: int, figures: Figures, failed: str) -> None:
        with open(self.path, "a") as file:
            file.write(f"{self.names}{'' if failed else figures['score']}\n")
