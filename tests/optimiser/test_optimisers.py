"""Optimisers against their formulas, step by step, and which numbers of a model they decay."""

import pytest
import torch

import blockyard as by
from blockyard.optimiser._groups import decayed
from blockyard.optimiser.adamw import adamw
from blockyard.optimiser.mup import mup, reads_width
from blockyard.optimiser.sgd import sgd

MATRIX, GAIN = "steps.0.part.qkv.weight", "steps.0.rule.norm.gain"


@pytest.fixture(scope="module")
def model():
    return by.build("llama", dim=16, layers=1, heads=1, vocab=32, tied=False).double()


def groups(model, *rest):
    """(names, decay, factor) of every group."""
    params = dict(model.named_parameters())
    names = {id(p): name for name, p in params.items()}
    made = decayed(model, params, *rest)
    return [([names[id(p)] for p in group["params"]], group["weight_decay"], group.get("factor")) for group in made]


def test_projections_are_decayed_and_nothing_else_is(model):
    names = [name for name, _ in model.named_parameters()]
    own = [name for name in names if name.rpartition(".")[2] == "weight"]
    (first, decay, none), (rest, zero, _) = groups(model, 0.2)
    assert (decay, zero, none) == (0.2, 0.0, None)
    assert [name for name in first if name != "head.table"] == own and len(own) == 4
    assert rest == [name for name in names if name not in first] and GAIN in rest and "stem.table" in rest


def test_a_slower_number_is_decayed_as_much_in_a_step(model):
    """rate * factor * decay / factor: what a step takes away is the same for every factor."""
    found = groups(model, 0.2, {MATRIX: 0.25, GAIN: 0.5})
    assert {(decay, factor) for _, decay, factor in found} == {(0.8, 0.25), (0.2, 1.0), (0.0, 0.5), (0.0, 1.0)}
    assert ([MATRIX], 0.8, 0.25) in found and ([GAIN], 0.0, 0.5) in found
    assert [factor for *_, factor in groups(model, 0.2, {})] == [1.0, 1.0]


def test_a_table_that_is_borrowed_is_no_projection_of_the_head():
    """A tied head reads the stem's table, which is not decayed."""
    tied = by.build("llama", dim=16, layers=1, heads=1, vocab=32, tied=True)
    assert "stem.table" in groups(tied, 0.2)[1][0]


def steps(model, make, count=3, **settings):
    """The matrix and the gain after some steps along fixed gradients: [(path, start, gradients, end)]."""
    found, draw = [], torch.Generator().manual_seed(0)
    for path in (MATRIX, GAIN):
        p = dict(model.named_parameters())[path]
        start, each = p.detach().clone(), [torch.randn(p.shape, generator=draw, dtype=p.dtype) for _ in range(count)]
        rule = make(model, {path: p}, **settings)
        for p.grad in each:
            rule.step()
        found.append((path, start, each, p.detach().clone()))
        p.data.copy_(start)
        p.grad = None
    return found


@pytest.mark.parametrize("settings", [{}, dict(lr=0.02, decay=0.4)], ids=str)
@pytest.mark.parametrize("make", [adamw, mup])
def test_adamw_is_its_formula(model, make, settings):
    factor = {adamw: 1.0, mup: 64 / 16}[make]  # of a matrix that reads the width; the loop takes it times the rate
    for path, w, gradients, end in steps(model, make, **settings):
        lr, decay = settings.get("lr", 1e-3), settings.get("decay", 0.1) / factor if path == MATRIX else 0.0
        m = v = torch.zeros_like(w)
        for t, g in enumerate(gradients, 1):
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
            w = w - lr * decay * w - lr * m / (1 - 0.9**t) / ((v / (1 - 0.95**t)).sqrt() + 1e-8)
        assert torch.allclose(end, w, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", [{}, dict(lr=0.1, decay=0.3, momentum=0.5)], ids=str)
def test_descent_is_its_formula(model, settings):
    for path, w, gradients, end in steps(model, sgd, **settings):
        lr, momentum, m = settings.get("lr", 1e-2), settings.get("momentum", 0.0), torch.zeros_like(w)
        for g in gradients:
            m = momentum * m + g + (settings.get("decay", 0.0) if path == MATRIX else 0.0) * w
            w = w - lr * m
        assert torch.allclose(end, w, rtol=1e-12, atol=1e-14)


def test_a_tiny_gradient_moves_less_than_the_rate(model):
    """eps = 1e-8 stands beside the root of the second moment: at |g| = 1e-8 the first step is half the rate."""
    p = dict(model.named_parameters())[GAIN]
    for make in (adamw, mup):
        before = p.detach().clone()
        p.grad = torch.full_like(p, 1e-8)
        make(model, {GAIN: p}, lr=1e-3).step()
        assert torch.allclose(before - p.detach(), torch.full_like(p, 0.5e-3), rtol=1e-6)
    p.grad = None


def test_a_width_that_cannot_be_doubled_is_refused(model):
    assert "steps.1.part.up.weight" in reads_width(model) and GAIN not in reads_width(model)
    with pytest.raises(by.UsageError, match="mup: a model with towers has more than one width"):
        reads_width(by.build("encoder_decoder", "tiny"))
