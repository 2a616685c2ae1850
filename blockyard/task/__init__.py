"""Tasks with known answers: recall, copying and state tracking, made from a seed.

    task = make_task("mqar:pairs=8,length=64")
    tokens, targets = task.sample(seed=0, n=32)        # targets: -1 where nothing is asked
    wrong, asked = errors(task.predictors()["oracle"](tokens), Examples(tokens, targets))

Needs no torch, and loads a task when it is made.
"""

from blockyard.task._base import Examples, Task, errors, make_task, tasks

__all__ = ["Examples", "Task", "errors", "make_task", "tasks"]
