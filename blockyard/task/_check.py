"""What a task promises, checked on examples of it: ours and everybody else's, by the same code."""

from collections.abc import Iterator

import numpy as np

from blockyard.task._base import Examples, Predictor, Task, errors

PROMISES = {
    "shape": "tokens and targets are int64 of (examples, length)",
    "seed": "a seed gives the same examples again, another one others",
    "rows": "the first examples do not depend on how many are drawn",
    "range": "every id lies in the vocabulary",
    "answers": "every answer is one of those that an answer can be",
    "asked": "every example asks something",
    "oracle": "one who knows the rule makes no error",
    "chance": "one who guesses is right as often as the task says",
    "input": "repeating the input is no solution",
    "causal": "every answer follows from the tokens at and before its place",
}


def promises(task: Task, count: int = 400) -> Iterator[tuple[str, bool]]:
    """Each promise by name, and whether it holds on `count` examples."""
    examples = tokens, targets = task.sample(3, count)
    again, other, few = task.sample(3, count), task.sample(4, count), task.sample(3, 7)
    predictors, asked = task.predictors(), targets >= 0
    right, number = _right(predictors["chance"], examples)
    yield "shape", tokens.shape == targets.shape == (count, task.length) and tokens.dtype == targets.dtype == np.int64
    yield "seed", all(map(np.array_equal, examples, again)) and not np.array_equal(tokens, other.tokens)
    yield "rows", np.array_equal(few.tokens, tokens[:7]) and np.array_equal(few.targets, targets[:7])
    yield "range", tokens.min() >= 0 and max(tokens.max(), targets.max()) < task.vocab and targets.min() >= -1
    yield "answers", set(targets[asked].tolist()) <= set(task.answers)
    yield "asked", bool(asked.any(1).all())
    yield "oracle", _right(predictors["oracle"], examples)[0] == 1
    yield "chance", abs(right - task.chance) <= 3 * (task.chance * (1 - task.chance) / number) ** 0.5
    yield "input", task.vocab <= 2 or _right(lambda t: t, examples)[0] < 0.6
    whole, causal = predictors["oracle"](tokens), True
    for t in range(task.length):
        early = predictors["oracle"](tokens[:, : t + 1])
        causal = causal and bool((early[:, t] == whole[:, t])[asked[:, t]].all())
    yield "causal", causal


def _right(predictor: Predictor, examples: Examples) -> tuple[float, int]:
    wrong, asked = errors(predictor(examples.tokens), examples)
    return 1 - wrong.sum() / asked.sum(), int(asked.sum())
