"""Texts mixed by shares: rows in exact shares, by seed and step; each scored by itself and together."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.compare.plan import dataset
from blockyard.core.errors import UsageError
from blockyard.data.mixed import CYCLE, MixedOrder, load_mixed, shared
from blockyard.data.order import TrainOrder
from blockyard.source import read
from blockyard.task import make_task
from blockyard.train.loop import Settings, to_batch, train


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """Two texts with no letter in common: capitals and digits."""
    monkeypatch.setenv("BLOCKYARD_CACHE", str(tmp_path / "cache"))
    draw = random.Random(0)
    for name, letters, lines in (("a.txt", "ABCDEFGH", 400), ("b.txt", "0123", 150)):
        rows = ("".join(draw.choice(letters) for _ in range(30)) for _ in range(lines))
        (tmp_path / name).write_text("\n".join(rows))
    return str(tmp_path / "a.txt"), str(tmp_path / "b.txt")


def mixed(texts, a=0.7, codec="bytes"):
    return read([f"{texts[0]}@{a}", f"{texts[1]}@{1 - a:g}"], ("corpus",), codec=codec)


def material(texts, a=0.7):
    return make_task("next_token").material(mixed(texts, a))


def of_b(rows):
    """(n,) whether rows are of the text of digits."""
    return np.isin(rows, [10, *b"0123"]).all(1)


def test_rows_are_of_one_text_each_and_their_shares_are_exact_in_a_cycle(texts):
    order = material(texts).order(16, 20, seed=3)
    rows = np.concatenate([order.next(step) for step in range(2 * CYCLE // 20)])
    assert rows.shape == (2 * CYCLE, 17)
    digits = of_b(rows)
    assert (digits | (np.isin(rows, [10, *b"ABCDEFGH"])).all(1)).all()
    assert digits[:CYCLE].sum() == digits[CYCLE:].sum() == 300
    assert not np.array_equal(digits[:CYCLE], digits[CYCLE:])
    parts = [digits[at : at + 100].sum() for at in range(0, CYCLE, 100)]
    assert max(parts) < 50 and min(parts) > 10  # and they are not laid end to end


def test_the_rows_of_one_text_go_on_in_its_own_order(texts):
    data = mixed(texts)
    order = MixedOrder.of([part.train for part in data.parts], data.shares, 16, 7, seed=5)
    met = [0, 0]
    for step in range(300):
        for row, ids in enumerate(order.next(step), step * 7):
            source, place = order.drawn(row)
            assert place == met[source]
            met[source] += 1
            np.testing.assert_array_equal(ids, order.orders[source].next(place)[0])
    assert isinstance(order.orders[0], TrainOrder) and met[0] > 2 * met[1] > 0


def test_a_step_is_a_function_of_the_seed_and_the_step(texts):
    one, again, other = (material(texts).order(16, 8, seed) for seed in (1, 1, 2))
    for step in (0, 300, 7):
        one.next(step)
    np.testing.assert_array_equal(one.next(131), again.next(131))
    assert not np.array_equal(one.next(131), other.next(131))


def test_shares_that_do_not_divide_a_cycle_are_rounded_by_their_remainders(texts):
    data = mixed(texts)
    splits = [data.parts[0].train, data.parts[1].train, data.parts[1].train]
    order = MixedOrder.of(splits, (1 / 3, 1 / 3, 1 / 3), 16, 8, 0)
    assert sorted(np.bincount([order.drawn(row)[0] for row in range(CYCLE)])) == [333, 333, 334]


def test_a_run_goes_on_to_the_bit(texts, tmp_path):
    made = material(texts)
    system = made.fit(by.spec("llama", "tiny"))
    how = dict(steps=4, lr=1e-3)
    whole = train(system, by.build(system), made.order(16, 4, 0), Settings(**how)).model

    class Cut:
        def next(self, step):
            if step == 2:
                raise KeyboardInterrupt
            return made.order(16, 4, 0).next(step)

    with pytest.raises(KeyboardInterrupt):
        train(system, by.build(system), Cut(), Settings(**how, save_seconds=0.0), tmp_path / "run")
    again = train(system, by.build(system), made.order(16, 4, 0), Settings(**how, save_seconds=0.0), tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.model.parameters()))


def scored(made, exam):
    """What every row costs who gives each of the 13 letters the same chance."""
    logits = torch.full((256,), -1e4, dtype=torch.float64)
    logits[list(b"ABCDEFGH\n0123")] = 0.0
    batch = to_batch(exam.take(slice(None)), "cpu")
    return made.amounts({"logits": logits.expand(*batch.tokens.shape, -1)}, batch).numpy()


def test_the_score_is_the_loss_of_each_text_weighed_by_its_share(texts):
    made = material(texts)
    exam = made.exam("final", 16)
    found = scored(made, exam)
    assert exam.weights.sum() == pytest.approx(1) and len(exam.asked) >= 16
    np.testing.assert_allclose(exam.groups(found), np.log2(13), rtol=1e-6)
    spoilt = found.copy()
    digits = exam.take(slice(None))["mixed.of"] == 1
    spoilt[digits] *= np.where(np.arange(5) < 3, 2.0, 1.0)  # twice the nats of the second text
    assert exam.weights @ exam.groups(spoilt) == pytest.approx((0.7 + 0.3 * 2) * np.log2(13), rel=1e-5)
    figures = made.figures(exam.sums(spoilt).sum(0), exam.asked.sum())
    assert figures == pytest.approx({"loss on a.txt": np.log2(13), "loss on b.txt": 2 * np.log2(13)}, rel=1e-5)
    whole = exam.whole()
    assert whole.groups(spoilt)[0] == pytest.approx((0.7 + 0.3 * 2) * np.log2(13), rel=1e-5)
    assert [metric.name for metric in made.also] == list(figures)


def test_the_exam_is_the_held_out_text_of_both_once(texts):
    made = material(texts)
    for role, split in (("tune", "tune"), ("final", "test")):
        exam = made.exam(role, 16)
        rows = exam.take(np.arange(len(exam))[::-1])
        assert len(exam.group) == len(exam) and rows["tokens"].shape == (len(exam), 16)
        for i, part in enumerate(made.data.parts):
            held = rows["targets"][rows["mixed.of"] == i][::-1]
            np.testing.assert_array_equal(held[held >= 0], getattr(part, split).tokens[1:])
        assert made.scored[role] == sum(getattr(part, split).bytes for part in made.data.parts)
    assert dict(made.at_lengths("final", 16)).keys() >= {8, 16, 32}
    assert all(len(exam.asked) == 1 for _, exam in made.at_lengths("final", 16))


def test_one_codec_is_learned_from_what_all_train_on_and_kept(texts):
    one, again = (mixed(texts, codec="bpe:300") for _ in range(2))
    assert one.codec.vocab == 300 and one.codec.hash == again.codec.hash
    assert one.parts[0].codec.hash == one.parts[1].codec.hash
    for part, path in zip(one.parts, texts):
        assert part.codec.decode(np.asarray(part.train.tokens[:40])) in Path(path).read_text()
        assert len(part.train) < part.bytes["train"]  # words of both were learned
    assert one.hash != mixed(texts, 0.6).hash


def test_text_that_stands_on_both_sides_is_told(texts, tmp_path):
    lines = [f"{line} and {line[::-1]}" for line in Path(texts[0]).read_text().split("\n")]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "d.txt").write_text("\n".join([*lines[::-1], Path(texts[1]).read_text()]))
    notes = load_mixed({str(tmp_path / "a.txt"): 0.5, str(tmp_path / "d.txt"): 0.5}).notes
    assert any(
        "100% of the long lines of the test of a.txt stand word for word in what d.txt" in note for note in notes
    )
    assert load_mixed({texts[1]: 0.5, str(tmp_path / "a.txt"): 0.5}).notes == ()


def test_a_plan_and_its_runs_read_the_same(texts):
    choice = dataset.chosen(None, [f"{texts[0]}@0.7", f"{texts[1]}@0.3"], "bytes")
    assert dataset.named(choice).hash == material(texts).hash
    assert "70.0% of the rows from a.txt" in dataset.named(choice).summary


def test_a_file_that_is_called_so_is_a_file(texts, tmp_path):
    name = tmp_path / "rows@0.5"
    name.write_text(Path(texts[0]).read_text())
    assert shared([str(name)]) is None and shared(["me@home", texts[0]]) is None
    assert read([str(name)], ("corpus",)).name == "rows@0.5"


@pytest.mark.parametrize(
    "shares, words",
    [
        (("@0.7", ""), "has no share, and others have one"), (("@0.7", "@0.2"), "must sum to 1"),
        (("@1.0005", "@-0.0005"), "each be 0.001 or more"), (("@1",), "name another one, or leave"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(texts, shares, words):
    with pytest.raises(UsageError, match=words):
        read([path + share for path, share in zip(texts, shares)], ("corpus",))
    with pytest.raises(UsageError, match="two shares"):
        shared([f"{texts[0]}@0.5", f"{texts[0]}@0.5"])
    with pytest.raises(UsageError, match="asked of one text"):
        make_task("mlm").material(mixed(texts))
    with pytest.raises(UsageError, match="no such file"):
        read([f"{texts[0]}@0.5", f"{texts[1]}x@0.5"], ("corpus",))
