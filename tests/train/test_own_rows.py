"""Phases that train on rows of their own: which step reads what, going on after a kill, what is charged and refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.compare.documents import Choice
from blockyard.compare.plan import dataset
from blockyard.core.spec import corrupt, objective, phase
from blockyard.model.count import training_flops
from blockyard.train.loop import Settings, train

SYSTEM = by.spec("llama", dim=16, layers=1, heads=2, vocab=32)
NEXT = objective("next_token")
ALL = "classify:only=class>4,rows=60"


class Rows:
    """Ids from `low` on, and a note of which steps were asked for."""

    def __init__(self, low, length=9):
        self.low, self.length, self.asked = low, length, []

    def next(self, step):
        self.asked.append(step)
        return np.random.default_rng([self.low, step]).integers(self.low, self.low + 8, (4, self.length))


def program(*phases):
    return SYSTEM.but(program=phases)


TWICE = program(phase(NEXT, share=0.5, data=("other",)), phase(NEXT, share=0.5))


def trained(folder=None, watch=None, own=None, steps=8):
    settings = Settings(steps=steps, lr=1e-2, log_every=1, save_seconds=0.0)
    return train(TWICE, by.build(TWICE), Rows(0), settings, folder, watch, own=own or {0: Rows(20, 5)})


def test_every_phase_reads_its_own_rows():
    main, own = Rows(0), Rows(20, 5)
    train(TWICE, by.build(TWICE), main, Settings(steps=8, lr=1e-2), own={0: own})
    assert sorted({*own.asked}) == [0, 1, 2, 3] and sorted({*main.asked}) == [4, 5, 6, 7]


@pytest.mark.parametrize("stop", [2, 4, 6])
def test_a_killed_run_goes_on_to_the_same_bits(stop, tmp_path):
    whole = trained()

    def watch(step, loss):
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, watch)
    again = trained(tmp_path)
    assert again.curve == whole.curve
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters()))


def test_other_rows_are_another_run(tmp_path):
    trained(tmp_path)
    with pytest.raises(by.UsageError, match="the data"):
        trained(tmp_path, own={0: Rows(21, 5)})


def test_rows_that_nobody_gave_are_asked_for():
    with pytest.raises(by.UsageError, match="phase 0 trains on rows of its own"):
        train(TWICE, by.build(TWICE), Rows(0), Settings(steps=2, lr=1e-2))


def test_a_phase_is_charged_for_rows_as_long_as_they_are():
    plain, long = (training_flops(program(phase(NEXT, share=0.5, **kind), phase(NEXT, share=0.5)), 64)
                   for kind in ({}, {"data": ("other",), "length": 128}))  # fmt: skip
    rows = [training_flops(SYSTEM, length) * length for length in (64, 128)]
    assert plain == pytest.approx(rows[0] / 64) and long == pytest.approx((rows[0] + rows[1]) / 2 / 64)


def fitted(first, material, recipe="vit", **settings):
    system = material.fit(by.spec(recipe, "tiny"))
    return dataset.with_own_rows(system.but(program=(first, *system["program"])), material, 64, "bytes")


def test_a_plan_finds_the_rows_of_a_phase():
    pytest.importorskip("sklearn")
    material = dataset.named(Choice(ALL, ["digits"], None))
    assert material.counts == {"train": 60, "tune": 135, "test": 134} and len(material.items.classes) == 5
    pixels = objective("reconstruct", corrupt=corrupt("patches", patch=2, channels=1))
    system = fitted(phase(pixels, data=("digits",), task="classify:only=class<5"), material)
    first = system["program"][0]
    assert first["length"] == 16 and len(first["digest"]) == 64
    (own,) = dataset.own_rows(system, None).values()
    shown = own.order(16, 32, 0).next(0)
    assert shown["tokens"].shape == (32, 8, 8, 1) and set(own.items.classes) == {"0", "1", "2", "3", "4"}
    changed = replace(first, settings=tuple((k, "0" * 64 if k == "digest" else v) for k, v in first.settings))
    with pytest.raises(by.UsageError, match="data of phase 0 changed"):
        dataset.own_rows(system.but(program=(changed, *system["program"][1:])), None)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (phase(NEXT, task="mqar:pairs=2,length=16"), "trains on ids .* the model of this run reads images"),
        (phase(objective("turns"), data=("mnist_5k",)), "height.: 28.*height.: 8"),
    ],
)
def test_rows_that_the_stem_cannot_read_are_refused(first, said):
    pytest.importorskip("sklearn")
    pytest.importorskip("mlxtend")
    with pytest.raises(by.UsageError, match=said):
        fitted(first, dataset.named(Choice("classify", ["digits"], None)))


def test_texts_beside_a_vocabulary_of_their_own_are_refused():
    material = dataset.named(Choice("mqar:pairs=2,length=16", [], None))
    system = by.spec("llama", "tiny", vocab=material.task.vocab)
    system = material.fit(system).but(program=(phase(NEXT, task="mqar:pairs=2,length=16"), phase(NEXT)))
    assert dataset.with_own_rows(system, material, 16, "bytes")["program"][0].get("length") is None
    with pytest.raises(by.UsageError, match="--codec bpe:300"):
        dataset.with_own_rows(system, material, 16, "bpe:300")
