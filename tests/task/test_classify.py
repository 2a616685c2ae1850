"""Naming classes: figures by hand, references, honest groups, what is shown, and unchanged recipes that take part."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_items import blobs, grey, sounds, words

import blockyard as by
from blockyard.core.batch import Batch
from blockyard.task import make_task
from blockyard.task._classical import Rows, classical, tuned
from blockyard.train.loop import Settings, build_objective, to_batch, train


def material(items, text="classify"):
    return make_task(text).material(items)


def test_patches_are_as_small_as_sixty_four_of_them_allow():
    for side, patch in ((8, 2), (28, 4), (32, 4), (64, 8), (7, 7)):
        made = material(grey(side=side))
        assert made.ends.settings["patch"] == patch and made.length == (side // patch) ** 2
    assert material(grey(side=8), "classify:patch=1").length == 64
    assert material(grey(side=8), "classify:length=4").ends.settings["patch"] == 4
    for bad, says in (("patch=3", "divide"), ("patch=2,length=4", "give one"), ("size=16", "taken as they are")):
        with pytest.raises(by.UsageError, match=says):
            material(grey(side=8), f"classify:{bad}")


@pytest.mark.parametrize("items,name", [(grey, "vit"), (sounds, "llama"), (words, "gla"), (blobs, "llama")])
def test_unchanged_recipes_learn_to_tell_things_apart(items, name):
    made = material(items())
    exam = made.exam("final", made.length)
    system = made.fit(by.spec(name, "tiny"))
    model = by.build(system)
    train(system, model, made.order(made.length, 16, 0), Settings(steps=20, lr=1e-2))
    with torch.no_grad():
        batch = to_batch(exam.take(slice(None)), "cpu")
        found = made.amounts(model(replace(batch, targets=None)).prediction, batch).numpy()
    assert float(exam.weights @ exam.groups(found)) < 0.25


def test_the_figures_are_those_that_one_counts_by_hand():
    made = material(grey(classes=3))
    scores = torch.tensor([[4.0, 0, 0], [0, 4.0, 0], [0.5, 0, 0], [0, 0, 1.0]], dtype=torch.float64)
    asked = torch.tensor([0, 0, 1, 2])
    found = made.amounts({"classes": scores}, Batch(torch.zeros(4, 1), asked)).numpy()
    chances = torch.softmax(scores, 1).numpy()
    assert found[:, 0].tolist() == [0, 1, 1, 0]
    assert np.allclose(found[:, 1], -np.log(chances[range(4), asked]))
    figures = made.figures(found.sum(0), 4.0)
    f1 = [2 * 1 / (2 + 2), 0, 1.0]  # class 0: one right of two said and two true; class 2: one of one
    assert figures["macro-F1"] == pytest.approx(np.mean(f1))
    bins = np.floor(chances.max(1) * 15)
    right, gap = np.array([1, 0, 0, 1]), 0.0
    for each in set(bins):
        gap += abs((chances.max(1) - right)[bins == each].sum())
    assert figures["calibration error"] == pytest.approx(gap / 4)
    assert figures["log loss"] == pytest.approx(found[:, 1].mean())
    assert {metric.name for metric in made.also} == set(figures)


def test_references_know_what_can_be_had_without_training():
    made = material(blobs(apart=6.0))
    exam, found = made.exam("final", 0), made.references("final")
    figures = {name: float(exam.weights @ groups) for name, groups in found.items()}
    assert (
        figures["linear"] < 0.05
        and figures["5 nearest"] < 0.05
        and figures["majority"] == pytest.approx(2 / 3, abs=0.02)
    )


def test_references_choose_on_rows_that_tune_alone():
    draw = np.random.default_rng(1)
    x, labels = draw.standard_normal((120, 3)), draw.integers(0, 2, 120)
    x[:, 0] += 2 * labels
    tune = Rows(x[60:90], labels[60:90])
    found = {each.name: each for each in tuned(Rows(x[:60], labels[:60]), tune, x[90:], 2, 4)}
    assert list(found) == ["majority", "linear", "nearest"] and all(each.seconds >= 0 for each in found.values())
    mean = x[:60].mean(0)
    wrong, said = {}, {}
    for k in (5, 1, 3, 9):  # by the definition: sort all distances, count
        order = [np.argsort(np.square(x[:60] - row).sum(1), kind="stable")[:k] for row in x[60:]]
        votes = [np.bincount(labels[each], 1 + 1e-3 * np.arange(k, 0, -1), 2).argmax() for each in order]
        wrong[k], said[k] = (votes[:30] != labels[60:90]).sum(), votes[30:]
    best = min(wrong, key=lambda k: wrong[k])
    assert found["nearest"].chosen == f"k={best}" and list(found["nearest"].classes) == list(said[best])
    scaled = (x - mean) / x[:60].std(0)
    top = np.linalg.eigvalsh(scaled[:60].T @ scaled[:60]).max()
    wanted = np.eye(2)[labels[:60]]
    missed = []
    for power in (-4, -3, -2, -1):
        held = scaled[:60].T @ scaled[:60] + 10.0**power * top * np.eye(3)
        weights = np.linalg.solve(held, scaled[:60].T @ (wanted - wanted.mean(0)))
        says = (scaled[60:] @ weights + wanted.mean(0)).argmax(1)
        missed.append((int((says[:30] != labels[60:90]).sum()), power, list(says[30:])))
    least = min(missed, key=lambda each: each[0])
    assert found["linear"].chosen == f"penalty={10.0 ** least[1]:g}" and list(found["linear"].classes) == least[2]
    other = tuned(Rows(x[:60], labels[:60]), tune, x[90:][::-1], 2, 4)
    assert [each.chosen for each in other] == [each.chosen for each in found.values()], (
        "nothing of what is asked chooses"
    )


def test_tuned_references_are_told_and_count_as_the_others_do():
    made = material(blobs(apart=6.0))
    referred, exam = made.tuned_references("final", 4), made.exam("final", 0)
    assert set(referred.settings) == {"linear", "nearest"} and "4 settings as every arm" in referred.notes[0]
    assert all(float(exam.weights @ referred.figures[name]) < 0.05 for name in referred.settings)
    assert list(made.tuned_references("final", 1).figures) == list(made.references("final"))


def test_a_linear_rule_is_that_of_a_library():
    linear = pytest.importorskip("sklearn.linear_model")
    draw = np.random.default_rng(0)
    x, labels = draw.standard_normal((90, 12)), draw.integers(0, 3, 90)
    x[:, 0] += labels
    said = classical(x, labels, x, 3)["linear"]
    scaled = (x - x.mean(0)) / x.std(0)
    top = np.linalg.eigvalsh(scaled.T @ scaled).max()
    theirs = [
        linear.RidgeClassifier(alpha=top * 10.0**power).fit(scaled, labels).predict(scaled) for power in range(-5, 3)
    ]
    assert any((said == each).all() for each in theirs)
    wide = draw.standard_normal((20, 50))
    assert (classical(wide, labels[:20], wide, 3)["5 nearest"].shape) == (20,)


def test_groups_of_a_test_keep_units_whole():
    items = grey(count=600)
    unit = np.random.default_rng(0).integers(0, 80, len(items))
    made = material(replace(items, unit=unit))
    exam = made.exam("final", 0)
    tested = unit[made.parts["test"]]
    assert len(exam.weights) >= 8 and all(len(set(exam.group[tested == one])) == 1 for one in set(tested))
    assert np.isclose(exam.weights.sum(), 1) and exam.asked.sum() == len(exam)
    few = material(replace(items, unit=unit % 6))
    assert len(few.exam("final", 0).weights) == 1 and "too few to say" in few.notes[-1]


def test_what_is_named_differently_is_other_data():
    names = {material(grey(), text).hash for text in ("classify", "classify:patch=1", "classify:length=4")}
    assert len(names) == 3 and material(grey()).hash in names


@pytest.mark.parametrize("items", [grey, sounds, words])
def test_a_page_shows_confusions_calibration_and_the_worst(items):
    made = material(items())
    exam = made.exam("final", 0)

    def always_first(arrays):
        scores = np.zeros((len(arrays["targets"]), 2))
        scores[:, 0] = 2.0
        return {"classes": scores}

    table, curve, worst = made.exhibits(always_first, exam)
    right = int((exam.take(slice(None))["targets"] == 0).sum())
    assert table.counts == [[right, 0], [len(exam) - right, 0]] and len(table.labels) == 2
    sure = float(np.exp(2) / (np.exp(2) + 1))
    assert curve.lines[0].x == [pytest.approx(sure)] and curve.lines[0].y == [pytest.approx(right / len(exam))]
    shown = worst.pictures or worst.texts
    assert shown and len(shown) <= 12
    if worst.pictures:
        assert len(worst.pictures[0].pixels) == 64 and max(worst.pictures[0].pixels) <= 255
    else:
        assert "said" in worst.texts[0]


def test_padding_of_texts_and_sounds_changes_nothing():
    for items in (words(), sounds()):
        made = material(items)
        model = by.build(made.fit(by.spec("llama", "tiny")))
        arrays = made.exam("final", 0).take(slice(0, 4))
        valid = arrays["valid"].copy()
        valid[:, valid.shape[1] * 3 // 4 :] = False
        said = []
        for noise in (0, 1):
            tokens = np.where(valid, arrays["tokens"], arrays["tokens"] * 0 + noise).astype(arrays["tokens"].dtype)
            said.append(model(Batch(torch.from_numpy(tokens), valid=torch.from_numpy(valid))).prediction["classes"])
        assert torch.equal(*said)


def test_what_is_unlike_the_rest_teaches_the_same_objective():
    made = material(words())
    system = made.fit(by.spec("llama", "tiny"))
    model = by.build(system)
    objective = build_objective(system["program"][0]["objective"], model)
    batch = to_batch(made.order(made.length, 8, 0).next(0), "cpu")
    ((total, count, _),) = objective(model, batch).values()
    assert int(count) == 8 and float(total.detach() / count) == pytest.approx(np.log(2), abs=0.4)


def test_a_share_of_the_classes_that_train_is_drawn_anew():
    clean, noisy, lots = (material(grey(), f"classify{how}") for how in ("", ":noise=0.4", ":noise=1"))
    train = clean.parts["train"]
    assert np.array_equal(clean.labels, clean.items.labels) and clean.hash != noisy.hash
    for made, share in ((noisy, 0.4), (lots, 1.0)):
        changed = np.flatnonzero(made.labels != clean.labels)
        assert set(changed) <= set(train) and np.array_equal(made.items.labels, clean.items.labels)
        assert 0.25 * share < len(changed) / len(train) < 0.75 * share  # of two classes half of what is drawn is right
        batch = made.order(made.length, len(train), 0).next(0)
        assert (np.sort(batch["targets"]) == np.sort(made.labels[train])).all()
        for role, name in (("tune", "tune"), ("final", "test")):
            assert np.array_equal(made.exam(role, 0).take(slice(None))["targets"], clean.labels[made.parts[name]])
    again = material(grey(), "classify:noise=0.4")
    assert np.array_equal(again.labels, noisy.labels) and "got a class by lot" in noisy.notes[-1]
    assert set(np.flatnonzero(noisy.labels != clean.labels)) <= set(np.flatnonzero(lots.labels != clean.labels))
    assert lots.references("final")["linear"].mean() > clean.references("final")["linear"].mean()
