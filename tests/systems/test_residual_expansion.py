"""Residual nets as sums over paths: the lines of the card, by brute force over subsets and by slopes."""

from itertools import combinations

import numpy as np
import pytest
import torch
from system_cases import F64, gap, normal, shake, tokens

import blockyard as by
from blockyard.core import Sublayer
from blockyard.core.spec import block, channel, depth, head, mixer, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.probe.path_orders import path_orders_probe
from blockyard.transform.cut import without


class Matrix(Sublayer):
    """A linear sublayer."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x, call, state=None):
        return x @ self.weight.T, state


def plain(layers, dim=8, rule=None, part=None):
    """A model of single sublayers without a norm anywhere."""
    part = (mixer("identity"),) if part is None else part
    return by.build(model_spec(
        dim=dim, stem=stem("tokens", vocab=32), blocks=(block("layer", *part),), depth=depth("stack", layers=layers),
        residual=rule or residual("scaled_by"), head=head("lm", tied=False, norm="none"),
    )).double()  # fmt: skip


def linear(n, rule=None, dim=8):
    made = plain(n, dim, rule)
    for i, step in enumerate(made.steps):
        step.part = Matrix(normal(dim, dim, seed=i) * dim**-0.5)
        step.part.path = f"steps.{i}.part"
    return made


@torch.no_grad()
@pytest.mark.parametrize("rule", [residual("scaled_by"), residual("scaled_by", factor=0.7, power=0.0)], ids=str)
def test_linear_sublayers_are_summed_over_all_their_subsets(rule):
    """(1) the stream is the sum over the 2^n subsets, and order k of the probe is that over those of k."""
    n, x = 6, tokens(2, 3, 32)
    made = linear(n, rule)
    scale = made.steps[0].rule.strength.double()
    first, total = made.start(x).x, 0
    found = path_orders_probe(made, x, most=3)
    for k in range(n + 1):
        order = torch.zeros_like(first)
        for chosen in combinations(range(n), k):
            h = first
            for i in chosen:
                h = scale * h @ made.steps[i].part.weight.T
            order += h
        total = total + order
        if k <= 3:
            assert gap(torch.from_numpy(found[f"order {k}"]), order) < 1e-12
            assert order.abs().max() > 1e-3
    assert gap(made.run(made.start(x)).x, total) < 1e-12
    assert gap(torch.from_numpy(found["whole"]), total) < 1e-12
    assert np.isclose(found["left"][0], ((total - first).norm() / total.norm()).item())


def smooth(layers=3, factor=1.0):
    return shake(plain(
        layers, dim=8, rule=residual("scaled_by", factor=factor, power=0.0),
        part=(mixer("attention", heads=2), channel("gated", inner=12)),
    ))  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("order, slope", [(1, 2.0), (2, 3.0)])
def test_what_an_order_misses_shrinks_by_the_next_power(order, slope):
    """(2) log-log slope of the rest in lambda: 2 after order 1, 3 after order 2."""
    scales = np.array([2e-2, 1e-2, 5e-3])
    rest = []
    for scale in scales:
        made = smooth(factor=float(scale))
        found = path_orders_probe(made, tokens(2, 4, 32), most=order)
        rest.append(found["left"][order] * np.linalg.norm(found["whole"]))
    fitted = np.polyfit(np.log(scales), np.log(rest), 1)[0]
    assert abs(fitted - slope) < 0.1


@torch.no_grad()
def test_the_second_order_is_a_sum_of_directional_derivatives():
    """(2) c_2 = sum_{i<j} Df_j(x) f_i(x), each by torch.func.jvp of a sublayer alone."""
    made, x = smooth(2), tokens(2, 4, 32)
    found = path_orders_probe(made, x)
    first = made.start(x)

    def adds(step):
        def f(h):
            after = made._run(first._replace(carry=h, rule=None), step)
            return after.x - h

        return f

    with by.exact():
        h = first.x
        ones = [adds(step)(h) for step in range(4)]
        twos = [torch.func.jvp(adds(j), (h,), (ones[i],))[1] for i, j in combinations(range(4), 2)]
    assert gap(torch.from_numpy(found["order 1"]), sum(ones)) < 1e-12
    assert gap(torch.from_numpy(found["order 2"]), sum(twos)) < 1e-12 and sum(twos).abs().max() > 1e-3


@torch.no_grad()
def test_random_sublayers_grow_as_the_scale_says():
    """(3) 64 of them: e for 1/sqrt(n), 1 for 1/n, 2^n for 1; n counts sublayers, two a layer."""
    n, D, powers = 64, 128, (0.5, 1.0, 0.0)
    rules = []
    for power in powers:
        spec = model_spec(
            dim=D, stem=stem("tokens"), blocks=(block("layer", mixer("identity"), mixer("identity")),),
            depth=depth("stack", layers=n // 2), residual=residual("scaled_by", power=power), head=head("lm"),
        )  # fmt: skip
        rules.append([step.rule for step in by.build(spec).steps])
    grown = np.zeros(3)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn(1, 4, D, generator=draw, dtype=F64)
        call, hs = by.core.Call.plain(x), [x] * 3
        for each in zip(*rules):
            weight = torch.randn(D, D, generator=draw).double() * D**-0.5
            hs = [rule.write(h, rule.read(h, ("x",), call) @ weight.T, call) for rule, h in zip(each, hs, strict=True)]
        grown += np.array([(h.square().sum() / x.square().sum()).item() for h in hs]) / 20
    assert abs(grown[0] / np.e - 1) < 0.15
    assert abs(grown[1] - 1) < 0.05
    assert abs(np.log2(grown[2]) / n - 1) < 0.1


@torch.no_grad()
def test_a_scale_of_zero_is_the_identity():
    """(4) for any sublayers; the other scales are not."""
    made, x = smooth(factor=0.0), tokens(2, 4, 32)
    assert torch.equal(made.run(made.start(x)).x, made.start(x).x)
    assert not torch.equal(smooth()(x).logits, made(x).logits)


def test_a_strength_that_starts_at_zero_is_all_that_learns_at_first():
    """(4) a fresh stack returns its input; at step 0 the strengths alone have a gradient, at step 1 everything has."""
    made, x = plain(2, rule=residual("rezero"), part=(mixer("attention", heads=2), channel("gated"))), tokens(2, 6, 32)
    assert torch.equal(made.run(made.start(x)).x, made.start(x).x)
    strengths = {name: p for name, p in made.named_parameters() if name.endswith("strength")}
    inside = {name: p for name, p in made.named_parameters() if name.startswith("steps") and name not in strengths}
    for step in range(2):
        loss = torch.nn.functional.cross_entropy(made(x).logits.flatten(0, 1), x.flatten())
        slopes = torch.autograd.grad(loss, [*strengths.values(), *inside.values()])
        assert all(g.abs().min() > 0 for g in slopes[: len(strengths)])
        assert all((g.abs().max() > 0) == bool(step) for g in slopes[len(strengths) :])
        with torch.no_grad():
            for p, g in zip(strengths.values(), slopes):
                p -= g
    assert len(strengths) == 4


@torch.no_grad()
def test_what_is_taken_out_leaves_the_scale():
    """The scale of the steps that stay is that of the deeper stack, where they learned."""
    made, x = smooth(4), tokens(2, 4, 32)
    spec = made.spec.but(residual=residual("scaled_by"))
    deep = shake(by.build(spec).double())
    assert deep.steps[0].rule.strength == 1 / 8
    left = without(deep, [1, 4]).model
    assert all(step.rule.strength == 1 / 8 for step in left.steps) and len(left.steps) == 6
    assert gap(left(x).logits, deep.finish(deep.run(deep.start(x), [0, 2, 3, 5, 6, 7])).logits) < 1e-12


@torch.no_grad()
def test_the_learned_gain_is_the_layer_scale_of_another_library():
    transformers = pytest.importorskip("transformers")
    from transformers.models.dinov2.modeling_dinov2 import Dinov2LayerScale

    theirs = Dinov2LayerScale(transformers.Dinov2Config(hidden_size=8, layerscale_value=1e-5)).double()
    rule = plain(1, rule=residual("scaled", norm="none", start=1e-5)).steps[0].rule
    x, y = normal(2, 3, 8), normal(2, 3, 8, seed=1)
    call = by.core.Call.plain(x)
    assert torch.equal(rule.gain, theirs.lambda1)
    theirs.lambda1.copy_(normal(8, seed=2))
    rule.gain.copy_(theirs.lambda1)
    assert torch.equal(rule.write(x, y, call), x + theirs(y))


def test_what_is_no_sum_is_refused():
    narrowing = plain(2, rule=residual("scaled_by"))
    narrowing.steps[1].rule.flush = lambda carry, call: 2 * carry
    with pytest.raises(by.UsageError, match=r"steps\.1: orders of paths are of steps that add to a stream"):
        path_orders_probe(narrowing, tokens(2, 5, 32))
