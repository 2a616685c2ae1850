"""Event files of TensorBoard, a folder a run.

    <folder>/tensorboard/<role>/<arm>/seed-<seed>/events.out.tfevents.*

Source   https://www.tensorflow.org/tensorboard
Family   trackers
Differs  numbers are kept with 64 bits, so that a score that is read back is the one that was found; the words of a run
         are the names of its folders

A run that goes on begins its folder anew: event files are only ever appended to.
"""

import math
from pathlib import Path

from blockyard.tracker._base import About, Figures, Tracker, emptied


class TensorBoard(Tracker):
    """A run as a folder of events."""

    package = "tensorboard"
    extra = "tensorboard"

    def __init__(self, about: About) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = emptied(Path(about.folder) / "tensorboard" / about.role / about.path)
        self.to = SummaryWriter(str(folder))

    def point(self, step: int, figures: Figures) -> None:
        for name, value in figures.items():
            self.to.add_scalar(name, value, step, new_style=True, double_precision=True)
        self.to.flush()

    def end(self, step: int, figures: Figures, failed: str) -> None:
        self.point(step, {"score": math.nan} if failed else figures)  # which is how a failed run is told of
        self.to.close()
