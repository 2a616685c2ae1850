"""The matrix of rules: what counts as nothing and as the rule itself, of every task in it."""

from types import SimpleNamespace

import pytest

from blockyard.study._rules import KNOWS_NOTHING, RULES, ends, page, share
from blockyard.task import make_task
from blockyard.task._base import Task

DOWN = SimpleNamespace(sign=1)


def known(**references):
    return SimpleNamespace(references=references, metric=DOWN)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_an_oracle_and_one_who_knows_nothing(rule):
    """References that learn in context are no floor: of tasks that have such, the floor is named."""
    task = make_task(RULES[rule])
    assert "oracle" in task.predictors()
    assert (type(task).predictors is not Task.predictors) == (rule in KNOWS_NOTHING)
    assert KNOWS_NOTHING.get(rule, "oracle") in task.predictors()


def test_a_share_is_the_way_from_nothing_to_the_rule():
    """Nothing is the best of who knows no rule, however wrong others are; a diverging rule changes no share."""
    counting = ends("counting", known(oracle=0.0, chance=0.99, commonest=0.84, by_length=0.75))
    assert counting == (0.75, 0.0) and share(0.75, counting) == 0 == share(0.9, counting) and share(0.0, counting) == 1
    regression = ends("regression", known(oracle=0.3, zero=1.0, nearest=0.9, **{"least squares": 1e5}))
    assert regression == (1.0, 0.3) and share(0.65, regression) == pytest.approx(0.5)
    assert share(None, regression) is None is share(0.1, (0.0, 0.0))


def test_its_page_leaves_out_lengths_where_the_rule_errs():
    """Whose oracle makes errors is drawn in the matrix alone."""
    arms = [
        SimpleNamespace(name=name, score=SimpleNamespace(mean=at, per_seed=[at]), lengths=[{"8": at, "16": at / 2}])
        for name, at in (("a", 0.9), ("b", 0.4))
    ]
    reports = {
        rule: SimpleNamespace(
            arms=arms, arm={arm.name: arm for arm in arms}.get, references=references, metric=DOWN,
            plan=SimpleNamespace(same=SimpleNamespace(length=8)), pairs=[],
        )
        for rule, references in (("parity", dict(oracle=0.0, chance=0.5)), ("regression", dict(oracle=0.3, zero=1.0)))
    }  # fmt: skip
    matrix, lengths = (picture.svg for picture in page(reports).pictures)
    assert "regression" in matrix and "parity" in matrix
    assert "parity" in lengths and "regression" not in lengths
    assert page(reports).table.rows[1][:1] == ["regression"] and page(reports).table.rows[1][-2:] == ["1.000", "0.300"]
