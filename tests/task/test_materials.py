"""What a comparison sees of any task: ends that fit, rows in order, exams in groups, metrics with directions."""

import numpy as np
import pytest

import blockyard as by
from blockyard.core.spec import head, objective, stem
from blockyard.data.rows import Held, RowOrder
from blockyard.task import Ends, Metric
from blockyard.task._material import exam

FRAMES = Ends(
    "frames", "classes", "classes", stem("frames"), head("classes"), objective("classes"),
    settings={"channels": 3, "classes": 5, "vocab": 7},
)  # fmt: skip


def test_an_unchanged_recipe_gets_the_ends_and_what_the_data_decide():
    plain = by.spec("llama", "tiny")
    fitted = FRAMES.fit(plain)
    ends = fitted["model"]["stem"], fitted["model"]["head"], fitted["program"][0]["objective"]
    assert ends == (stem("frames", channels=3), head("classes", classes=5), objective("classes"))
    assert fitted["model"]["blocks"] == plain["model"]["blocks"] and fitted["model"].get("causal", True)
    assert FRAMES.fit(fitted) == fitted


def test_a_recipe_keeps_ends_of_the_right_sort():
    own = by.spec("llama", "tiny").but(model=by.spec("llama", "tiny")["model"].but(head=head("classes", norm=None)))
    assert FRAMES.fit(own)["model"]["head"] == head("classes", norm=None, classes=5)


def test_what_asks_for_sight_ahead_says_so_and_a_recurrence_refuses():
    both = Ends("ids", "tokens", "tokens", stem("tokens"), head("lm"), objective("next_token"), causal=False)
    assert both.fit(by.spec("llama", "tiny"))["model"]["causal"] is False
    with pytest.raises(by.UsageError, match="bidirectional"):
        by.build(both.fit(by.spec("gla", "tiny")))


def test_a_system_that_fits_is_the_same_system():
    text = Ends("ids", "tokens", "tokens", stem("tokens"), head("lm"), objective("next_token"), settings={"vocab": 256})
    for name in ("llama", "gla", "mamba"):
        assert text.fit(by.spec(name, "tiny")).hash == by.spec(name, "tiny").hash


@pytest.mark.parametrize("count,batch", [(10, 4), (3, 5), (7, 7)])
def test_every_row_comes_once_an_epoch_and_no_batch_is_cut(count, batch):
    order = RowOrder(Held({"tokens": np.arange(count)}), batch, seed=1)
    drawn = np.concatenate([order.next(step)["tokens"] for step in range(2 * count)])
    assert len(drawn) == 2 * count * batch
    for epoch in drawn[: len(drawn) // count * count].reshape(-1, count):
        assert sorted(epoch) == list(range(count))
    again = RowOrder(Held({"tokens": np.arange(count)}), batch, seed=1)
    assert (again.next(5)["tokens"] == order.next(5)["tokens"]).all()
    other = RowOrder(Held({"tokens": np.arange(1000)}), batch, seed=2)
    assert (other.next(0)["tokens"] != RowOrder(other.rows, batch, seed=3).next(0)["tokens"]).any()


def test_a_score_is_the_weighted_mean_of_groups_and_the_whole():
    rows, asked = Held({"tokens": np.arange(100)}), np.arange(1, 101)
    found = exam(rows, 1, asked, groups=8)
    amounts = np.random.default_rng(0).random(100)
    assert found.weights @ found.groups(amounts) == pytest.approx(amounts.sum() / asked.sum(), abs=1e-12)
    assert found.whole().groups(amounts) == pytest.approx(amounts.sum() / asked.sum(), abs=1e-12)
    assert len(found.weights) == 8 and found.sums(np.stack([amounts, amounts], 1)).shape == (8, 2)
    with pytest.raises(by.UsageError, match="nothing to score"):
        exam(rows, 1, np.zeros(0))


def test_metrics_say_their_direction_and_bounds():
    assert Metric("accuracy", "share", "higher", 0.0, 1.0).sign == -1 and Metric("mse", "1", "lower", 0.0).sign == 1
    assert Metric("error", "error rate", "lower").share and not Metric("loss", "bits/byte", "lower").share
