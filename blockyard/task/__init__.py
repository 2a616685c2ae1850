"""Tasks with known answers: recall, copying and state tracking, made from a seed.

    task = make_task("mqar:pairs=8,length=64")
    tokens, targets = task.sample(seed=0, n=32)        # targets: -1 where nothing is asked
    wrong, asked = errors(task.predictors()["oracle"](tokens), Examples(tokens, targets))

Needs no torch, and loads a task when it is made.
"""

from blockyard.task._base import DataTask, Examples, Task, errors, make_task, tasks
from blockyard.task._exhibit import Exhibit, Line, Picture
from blockyard.task._material import Ends, Exam, Material
from blockyard.task._metric import Metric

__all__ = [
    "DataTask", "Ends", "Exam", "Examples", "Exhibit", "Line", "Material", "Metric", "Picture", "Task", "errors",
    "make_task", "tasks",
]  # fmt: skip
