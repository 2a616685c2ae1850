"""Several answers to one question, each begun by another token, chosen while the model sees what was answered before.

    e = ()        repeat:  f = the likeliest first token behind form(e) that none began with
                           a = f and what is likeliest behind form(()) f        e <- (*e, a)

The answers before move the state that first tokens are chosen by, away from the keys near theirs; no answer is written
with them in sight. A form that leaves e out gives the first tokens of one distribution, in order. (arXiv 2410.02284)
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch

from blockyard.core.errors import UsageError
from blockyard.decode.generate import generate
from blockyard.decode.ragged import begun, fits, prefill, rows_of
from blockyard.decode.rules import GREEDY, integer
from blockyard.model.model import Model

Answer = list[int]
Form = Callable[[Sequence[Answer]], Sequence[int]]
Said = TypeVar("Said", bound=Hashable)


@torch.no_grad()
def navigate(
    model: Model, form: Form, count: int, tokens: int, *, stop: Sequence[int] = (), most: int = 100
) -> list[Answer]:  # fmt: skip
    """The answers in the order in which they were found, `count` of them or fewer where no first token is left.

    form     the ids of the prompt, from the answers before; from none: the plain question
    count    answers        tokens   of an answer, at most
    stop     ids that end an answer and are no part of it        most   of the likeliest first tokens, those that count
    """
    for name, value in (("count", count), ("tokens", tokens), ("most", most)):
        integer(name, value, 1)
    plain, answers, begun_with = [*form(())], [], set[int]()
    while len(answers) < count:
        ranked = _ranked(model, [*form(tuple(answers))], most)
        first = next((token for token in ranked if token not in begun_with), None)
        if first is None:
            break
        begun_with.add(first)
        answers.append(_written(model, plain, first, tokens, stop))
    return answers


def vote(answers: Sequence[Said]) -> Said:
    """What was said most often; of several, what was said first."""
    if not answers:
        raise UsageError("a vote needs an answer")
    return Counter(answers).most_common(1)[0][0]  # keeps the order of first mention among equals


def _ranked(model: Model, prompt: Sequence[int], most: int) -> list[int]:
    """The likeliest tokens behind a prompt, in order; of equal ones the first id."""
    rows = rows_of(model, torch.tensor([[*prompt]]))
    fits(model, rows, 1)
    logits, _ = prefill(model, begun(rows, torch.tensor([[*prompt]])), chunk=512)
    return logits[0].argsort(descending=True, stable=True)[:most].tolist()


def _written(model: Model, plain: Sequence[int], first: int, tokens: int, stop: Sequence[int]) -> Answer:
    """An answer from its first token on, the likeliest one behind the plain question."""
    if first in stop:
        return []
    answer = [first]
    for step in generate(model, torch.tensor([[*plain, first]]), tokens - 1, GREEDY, stop=[*stop]):
        token = int(step.tokens[0])
        if token in stop:
            break
        answer.append(token)
    return answer
