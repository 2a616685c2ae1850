"""What a task promises, checked on examples of it: ours and everybody else's, by the same code.

A task whose answers are mostly what stands before them anyway says how often at most that is right: `repeats`.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from blockyard.task._base import Examples, Predictor, Task, errors

REPEATS = 0.6  # how often at most the input, repeated, is right
PROMISES = {
    "shape": "tokens and targets have a row for every example; ids are int64 of (examples, length)",
    "seed": "a seed gives the same examples again, another one others",
    "rows": "the first examples do not depend on how many are drawn",
    "asked": "every example asks something",
    "oracle": "one who knows the rule makes no error; where noise leaves one, nobody else makes less",
    "range": "every id lies in the vocabulary",
    "answers": "every answer is one of those that an answer can be",
    "chance": "one who guesses is right as often as the task says",
    "input": "repeating the input is no solution: it is right less often than the task allows",
    "causal": "every answer follows from the tokens at and before its place",
}


def promises(task: Task, count: int = 400) -> Iterator[tuple[str, bool]]:
    """Each promise by name, and whether it holds on `count` examples."""
    examples = tokens, targets = task.sample(3, count)
    again, other, few = task.sample(3, count), task.sample(4, count), task.sample(3, 7)
    yield "shape", len(tokens) == len(targets) == count and (not task.of_ids or _rows_of_ids(task, examples))
    yield "seed", all(map(_equal, examples, again)) and not _equal(tokens, other.tokens)
    yield "rows", _equal(few.tokens, tokens[:7]) and _equal(few.targets, targets[:7])
    yield "asked", bool((task.questions(targets) > 0).all())
    scores = {name: score(task, predictor, examples) for name, predictor in task.predictors().items()}
    best = min(scores.values()) if task.metric.sign > 0 else max(scores.values())
    yield "oracle", scores["oracle"] == (0.0 if task.exact else best)
    if task.of_ids:
        yield from _of_ids(task, examples)


def score(task: Task, predictor: Predictor, examples: Examples) -> float:
    """The figure of a predictor on these examples."""
    said = predictor(examples.tokens)
    amounts = task.priced(said if isinstance(said, Mapping) else {"ids": said}, examples)
    sums = np.asarray(amounts, np.float64).reshape(len(examples.tokens), -1).sum(0, keepdims=True)
    return float(task.figure(sums, task.questions(examples.targets).sum(keepdims=True))[0])


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _rows_of_ids(task: Task, examples: Examples) -> bool:
    tokens, targets = examples
    return tokens.shape == targets.shape == (len(tokens), task.length) and tokens.dtype == targets.dtype == np.int64


def _of_ids(task: Task, examples: Examples) -> Iterator[tuple[str, bool]]:
    """What is promised of ids alone."""
    (tokens, targets), predictors = examples, task.predictors()
    asked = targets >= 0
    right, number = _right(predictors["chance"], examples)
    yield "range", tokens.min() >= 0 and max(tokens.max(), targets.max()) < task.vocab and targets.min() >= -1
    yield "answers", set(targets[asked].tolist()) <= set(task.answers)
    yield "chance", abs(right - task.chance) <= 3 * (task.chance * (1 - task.chance) / number) ** 0.5
    yield "input", task.vocab <= 2 or _right(lambda t: t, examples)[0] < getattr(task, "repeats", REPEATS)
    whole, causal = predictors["oracle"](tokens), True
    for t in range(task.length):
        early = predictors["oracle"](tokens[:, : t + 1])
        causal = causal and bool((early[:, t] == whole[:, t])[asked[:, t]].all())
    yield "causal", causal


def _right(predictor: Predictor, examples: Examples) -> tuple[float, int]:
    wrong, asked = errors(predictor(examples.tokens), examples)
    return 1 - wrong.sum() / asked.sum(), int(asked.sum())
