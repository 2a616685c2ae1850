"""Rows of several tasks: whose they are follows from the seed, a tag says so, each task is scored by itself as well."""

import hashlib

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Batch
from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.task import Examples, make_task
from blockyard.task._exercise import Exercise

TEXT = "mixture:of=copy:count=4:letters=3:offset=0+parity:length=12+reverse:count=4:letters=3:offset=0"


def made(**settings):
    return make_task(TEXT + "".join(f",{name}={value}" for name, value in settings.items()))


def test_a_tag_names_the_task_and_the_rest_is_its_own_row():
    task = made()
    tokens, targets = task.sample(7, 200)
    assert set(tokens[:, 0]) == {5, 6, 7} and task.vocab == 9 and task.length == 13
    for i, own in enumerate(task.tasks):
        rows = tokens[:, 0] == 5 + i
        wanted = own.sample(fold("mixture", 7, i), int(rows.sum()))
        np.testing.assert_array_equal(tokens[rows, 1 : 1 + own.length], wanted.tokens)
        np.testing.assert_array_equal(targets[rows, 1 : 1 + own.length], wanted.targets)
        assert (tokens[rows, 1 + own.length :] == 8).all() and (targets[rows, 1 + own.length :] == -1).all()
    assert (targets[:, 0] == -1).all()


def test_shares_are_kept():
    tags = made(shares="0.2+0.5+0.3").sample(0, 20_000).tokens[:, 0]
    np.testing.assert_allclose(np.bincount(tags, minlength=8)[5:] / 20_000, [0.2, 0.5, 0.3], atol=0.02)
    even = made().sample(0, 20_000).tokens[:, 0]
    np.testing.assert_allclose(np.bincount(even, minlength=8)[5:] / 20_000, [1 / 3] * 3, atol=0.02)


def test_a_step_is_a_function_of_the_seed_and_the_step():
    order, again = (Exercise("m", made()).order(13, 16, 3) for _ in range(2))
    first = order.next(0)
    order.next(1)
    for name, values in again.next(5).items():
        np.testing.assert_array_equal(values, order.next(5)[name])
    assert not np.array_equal(first["tokens"], order.next(5)["tokens"])


def test_each_task_is_scored_by_itself_and_all_together():
    task = made(shares="0.25+0.5+0.25")
    material = Exercise("m", task)
    exam = material.exam("final", 13)
    rows = exam.take(slice(None))
    batch = Batch(torch.from_numpy(rows["tokens"]), torch.from_numpy(rows["targets"]))
    logits = torch.nn.functional.one_hot(batch.targets.clamp(min=0), task.vocab).double()
    spoilt = logits.clone()
    spoilt[rows["tokens"][:, 0] == 6] = 0  # parity is said to be 0
    spoilt[rows["tokens"][:, 0] == 6, :, 0] = 1
    found = exam.sums(material.amounts({"logits": spoilt}, batch).numpy()).sum(0)
    figures = material.figures(found, exam.asked.sum())
    assert set(figures) == {metric.name for metric in material.also}
    assert figures["error of copy"] == figures["error of reverse"] == 0
    parity = rows["targets"][rows["tokens"][:, 0] == 6]
    assert figures["error of parity"] == pytest.approx((parity[parity >= 0] != 0).mean())
    asked = (rows["targets"] >= 0).sum()
    assert found[0] / exam.asked.sum() == pytest.approx((parity > 0).sum() / asked)
    right = exam.sums(material.amounts({"ids": batch.targets.clamp(min=0)}, batch).numpy()).sum(0)
    assert right[0] == 0 and material.figures(right, asked)["error of parity"] == 0


def test_only_the_tag_tells_copying_from_reversing():
    task = make_task("mixture")
    tokens, targets = task.sample(1, 300)
    other = tokens.copy()
    other[:, 0] = np.where(tokens[:, 0] == task._ids, task._ids + 1, task._ids)
    wrong, none = (
        task.priced({"ids": task.solve(each)}, Examples(tokens, targets))[:, 0].sum() for each in (other, tokens)
    )
    assert wrong > 0.4 * (targets >= 0).sum() and none == 0


def test_the_same_task_twice_draws_other_rows_and_has_another_name():
    task = make_task("mixture:of=parity:length=12+parity:length=12")
    assert [metric.name for metric in task.also] == ["error of parity", "error of parity 2"]
    tokens = task.sample(0, 400).tokens
    one, two = (tokens[tokens[:, 0] == 2 + i, 1:] for i in range(2))
    count = min(len(one), len(two))
    assert not np.array_equal(one[:count], two[:count])


def test_settings_of_tasks_are_read_and_written():
    task = make_task("mixture:of=modular_arithmetic:operators=+-+mqar:pairs=2:length=16")
    assert task.tasks[0].operators == "+-" and task.tasks[1].pairs == 2
    longer = made().stretched(2)
    assert [each.length for each in longer.tasks] == [16, 24, 16] and longer.vocab == made().vocab


@pytest.mark.parametrize(
    "text, words",
    [
        ("of=copy", "names one task; name several"),
        ("of=copy+regression", "regression makes no rows of ids"),
        ("of=copy+forecast", "forecast makes no rows of ids"),
        ("of=copy+revrse", "did you mean reverse"),
        ("of=copy:count=0+reverse", "count=0 must be a whole number"),
        ("shares=0.5+0.6", "must be 2 numbers above 0 that sum to 1"),
        ("shares=1", "must be a word|must be 2 numbers"),
        ("shares=a+b", "must be 2 numbers"),
        ("shares=1.5+-0.5", "must be 2 numbers"),
    ],
)
def test_a_mistake_is_told(text, words):
    with pytest.raises(UsageError, match=words):
        make_task(f"mixture:{text}")


def test_a_decoder_learns_on_it_after_a_checkpoint_as_without(tmp_path):
    from blockyard.train.loop import Settings, train

    material = Exercise("m", made())
    system = material.fit(by.spec("llama", "tiny"))
    order = material.order(13, 4, 0)
    settings = Settings(steps=4, lr=1e-3)
    whole = train(system, by.build(system), order, settings).model
    stopped = Cut(order, 2)
    with pytest.raises(KeyboardInterrupt):
        train(system, by.build(system), stopped, Settings(steps=4, lr=1e-3, save_seconds=0), tmp_path)
    again = train(system, by.build(system), order, Settings(steps=4, lr=1e-3, save_seconds=0), tmp_path).model
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters()))


class Cut:
    """An order that breaks off."""

    def __init__(self, order, at):
        self.order, self.at = order, at

    def next(self, step):
        if step == self.at:
            raise KeyboardInterrupt
        return self.order.next(step)


def test_the_first_examples_never_change():
    tokens, targets = make_task("mixture").sample(0, 8)
    first = hashlib.sha256(tokens.tobytes() + targets.tobytes()).hexdigest()[:12]
    assert first == type(make_task("mixture")).first
