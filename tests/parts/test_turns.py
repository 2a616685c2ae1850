"""Turns of images as classes: what is shown, what is asked, and what it costs."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

import blockyard as by
from blockyard.core.spec import objective
from blockyard.train.loop import build_objective

SIZE = dict(dim=16, layers=1, heads=2, height=4, width=4, channels=1, patch=2)


def made():
    model = by.build("vit", **SIZE).double()
    return model, build_objective(objective("turns"), model, seed=3).double()


def test_images_are_turned_by_what_is_asked():
    _, turns = made()
    images = torch.arange(8 * 16.0).view(8, 4, 4, 1)
    drawn = torch.tensor([0.0, 0.24, 0.25, 0.49, 0.5, 0.74, 0.75, 0.99])
    shown = turns.prepare(by.Batch(images, torch.ones(8, dtype=torch.long)), lambda name, shape: drawn.view(shape))
    assert shown.targets.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for image, before, k in zip(shown.tokens, images, shown.targets):
        assert torch.equal(image, torch.rot90(before, int(k), (0, 1)))
    assert float(turns.counts(shown)["turns"]) == 8


def test_the_loss_is_that_of_four_classes_of_its_own_head():
    model, turns = made()
    images = torch.randn(5, 4, 4, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    asked = torch.tensor([0, 3, 1, 2, 2])
    total, count, weight = turns(model, by.Batch(images, asked))["turns"]
    flow = model.run(model.start(images))
    said = turns.head(flow.x, flow.call, None)[0]["classes"]
    assert said.shape == (5, 4) and (count, weight) == (5, 1.0)
    assert total.item() == pytest.approx(cross_entropy(said, asked, reduction="sum").item())
    total.backward()
    assert all(p.grad is not None for p in turns.parameters())
    assert (total / count).item() < 4 * math.log(4) and model.stem.proj.store is not None


def test_only_squares_can_be_turned():
    _, turns = made()
    for tokens in (torch.zeros(2, 4, 6, 1), torch.zeros(2, 9, dtype=torch.long)):
        with pytest.raises(by.UsageError, match="square images"):
            turns.prepare(by.Batch(tokens), lambda name, shape: torch.zeros(shape))
