"""Which examples of a task are kept for its exams: no training step draws them, and tune and final share none.

Where a task has more examples than anybody could draw, its exams are what their own seeds draw. Where it has few, as
the 256 of eight bits, a quarter of them at most is held out, each asked once, and training draws among the others. All
of it may be asked where the task itself shows none of it in training.
With fewer than FEW different examples there is nothing to hold out: what is asked is then known, and that is said.
"""

from dataclasses import dataclass

import numpy as np

from blockyard.core.random import fold
from blockyard.task._base import Examples, Task

EXAMPLES = {"final": 1024, "tune": 512}
SURVEY = 8192  # examples drawn to see how many different ones there are
FEW = 32


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The exams of a task by role, the rows (tokens as bytes) that they keep from training, and how many were seen.

    different   how many different examples a survey of SURVEY draws met, of those that exams can ask
    """

    exams: dict[str, Examples]
    rows: frozenset[bytes]
    different: int

    @property
    def note(self) -> str | None:
        """What must be said where not every question of the exams is new or there are few of them."""
        asked = {role: len(exam.tokens) for role, exam in self.exams.items()}
        if not self.rows:
            few = f"there are only {self.different} different examples, too few to hold any out"
            return f"no question of the test is new: {few}"
        if asked["final"] >= EXAMPLES["final"] * 0.9:
            return None
        return (
            f"there are about {self.different:,} different examples: {asked['final']} are held out for the test and "
            f"{asked['tune']} for tuning, training draws the others"
        )

    def fresh(self, task: Task, seed: int, count: int) -> Examples:
        """`count` examples of a seed that no exam asks: its first ones, those of the exams passed over."""
        drawn = task.sample(seed, count)
        more = count
        while True:
            free = [i for i, row in enumerate(drawn.tokens) if row.tobytes() not in self.rows]
            if len(free) >= count:
                return Examples(drawn.tokens[free[:count]], drawn.targets[free[:count]])
            more *= 2  # the first rows of a sample do not depend on how many are drawn
            drawn = task.sample(seed, more)


def hold_out(task: Task) -> HeldOut:
    """The exams of a task: a function of the task alone, the same in every process."""
    shown, asked = _different(task), _different(task.scored_on)
    different = min(len(shown), len(asked))  # an exam may have fewer than training has
    room = different // 4 if shown & asked else len(asked)
    drawn = {role: task.scored_on.sample(fold("exam", role), count) for role, count in EXAMPLES.items()}
    if different < FEW:
        return HeldOut(drawn, frozenset(), different)
    taken: set[bytes] = set()
    exams = {}
    for role, examples in drawn.items():
        most = room * EXAMPLES[role] // sum(EXAMPLES.values())
        chosen: dict[bytes, int] = {}
        for i, row in enumerate(examples.tokens):
            if len(chosen) < most and (key := row.tobytes()) not in taken:
                chosen.setdefault(key, i)
        taken |= chosen.keys()
        keep = np.array(list(chosen.values()))
        exams[role] = Examples(examples.tokens[keep], examples.targets[keep])
    return HeldOut(exams, frozenset(taken), different)


def _different(task: Task) -> set[bytes]:
    """The different examples that a survey meets."""
    return {row.tobytes() for row in task.sample(fold("exam", "survey"), SURVEY).tokens}
