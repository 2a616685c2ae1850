"""What must hold of three gated delta layers with eigenvalues down to -1, then one of attention, repeated."""

import numpy as np
import pytest
import torch
from system_cases import F64, NONE, by_twin, decode, gap, model, part, tokens

import blockyard as by
from blockyard.compare.judge.scaling import fit_scaling
from blockyard.model.count import state_bytes

TINY = dict(size="tiny", heads=2)


def kinds(built):
    """The mixers of the layers, one a layer."""
    return [step.part.spec.name for step in built.steps][::2]


@pytest.mark.parametrize("layers", [4, 8, 11, 32])
def test_every_fourth_layer_is_attention(layers):
    """(1) attention at i % 4 == 3 exactly, gated delta elsewhere; each with its channel."""
    with torch.device("meta"):
        built = by.build("olmo_hybrid", size="tiny", layers=layers)
    expected = ["attention" if i % 4 == 3 else "gated_deltanet" for i in range(layers)]
    assert kinds(built) == expected and {step.part.spec.name for step in built.steps[1::2]} == {"gated"}


@pytest.mark.parametrize("layers", [2, 3])
def test_a_short_stack_ends_in_attention(layers):
    """(1) at least one layer of each kind: below four layers the last one is attention, as in transformers."""
    with torch.device("meta"):
        built = by.build("olmo_hybrid", size="tiny", layers=layers)
    assert kinds(built) == ["gated_deltanet"] * (layers - 1) + ["attention"]


def test_a_single_layer_is_refused():
    """(1) one layer cannot be of both kinds."""
    with pytest.raises(by.UsageError, match="layers"):
        by.build("olmo_hybrid", size="tiny", layers=1)


def test_the_step_reaches_two():
    """(3) as published: every delta layer's step goes up to 2, and no layer has rotary positions."""
    built = by.build("olmo_hybrid", size="tiny", layers=8)
    assert {s.part.beta_max for s in built.steps if s.part.spec.name == "gated_deltanet"} == {2.0}
    assert {s.part.position for s in built.steps if s.part.spec.name == "attention"} == {None}


def test_state_is_a_quarter_of_a_cache_and_a_constant():
    """(2) at length T: a quarter of the key-value bytes of attention everywhere, and a part that does not grow."""
    hybrid = by.spec("olmo_hybrid", layers=8, **TINY)
    full = by.spec("olmo_hybrid", layers=8, **TINY, **{"depth.pattern": "attention"})
    delta = by.spec("olmo_hybrid", layers=6, **TINY, **{"depth.pattern": "delta"})
    lengths = (32, 64, 1024)
    ours, theirs = ([state_bytes(spec, n) for n in lengths] for spec in (hybrid, full))
    assert theirs[2] == 32 * theirs[0] > 0
    fixed = {a - b // 4 for a, b in zip(ours, theirs)}
    assert fixed == {state_bytes(delta, 64)} == {state_bytes(delta, 1024)} and fixed.pop() > 0
    real = by.build(hybrid)
    assert real(tokens(1, 32), real.init_state(1)).state.nbytes == ours[0]


@torch.no_grad()
@pytest.mark.parametrize("twin", ["chunked", "reference"])
def test_slots_swap_exactly_over_a_thousand_steps(twin):
    """(3) one delta layer with weights by hand, told 1000 pairs of slots, holds the permuted slots to 1e-5."""
    slots = 5
    pairs = [(i, j) for i in range(slots) for j in range(i)]
    dim = len(pairs)
    order = torch.randint(0, dim, (1000,), generator=torch.Generator().manual_seed(0))
    held = list(range(slots))
    for n in order.tolist():
        i, j = pairs[n]
        held[i], held[j] = held[j], held[i]
    sizes = dict(dim=dim, heads=1, key_dim=slots, value_dim=slots)
    errors = []
    for beta_max in (2.0, 1.9, 1.0):
        m = part("mixer:gated_deltanet", conv=None, norm=NONE, beta_max=beta_max, **sizes)
        m.proj.weight.zero_()
        for n, (i, j) in enumerate(pairs):
            # unit length makes it (e_i - e_j) / sqrt(2)
            m.proj.weight[slots + i, n], m.proj.weight[slots + j, n] = 1e4, -1e4
        m.proj.weight[-1] = 40.0
        m.A_log.fill_(-80)
        contents = torch.eye(slots, dtype=F64)[None, None]
        memory = by_twin(twin, m)(torch.eye(dim, dtype=F64)[order][None], None, {"memory": contents})[1]["memory"]
        errors.append((memory[0, 0] - torch.eye(slots, dtype=F64)[held]).abs().max().item())
    assert errors[0] < 1e-5 < 0.1 < min(errors[1:])


def test_chunked_is_recurrent_with_steps_above_one():
    """(4) the whole model through either kernel, gradients too, with steps above 1 at work."""
    m, x = model("olmo_hybrid", **TINY), tokens(2, 70)
    points = {"steps.0.part:beta": "read"}
    with torch.no_grad():
        out = m(x, points=points)
        assert max(beta.max() for beta in out.captures.values()) > 1.5
        loop = by_twin("reference", m)(x).logits
        assert gap(out.logits, loop) < 1e-10
        assert gap(decode(m, x, [33, 1, 36])[0], loop) < 1e-10
    names = [p for p in m.parameters() if p.requires_grad]
    both = [torch.autograd.grad(by_twin(twin, m)(x).logits.square().mean(), names) for twin in ("chunked", "reference")]
    assert max(gap(a, b) for a, b in zip(*both)) < 1e-8


def test_narrow_steps_are_another_model():
    """(4) fails to be the published system where the factor of two on the step is dropped."""
    narrow = by.spec("olmo_hybrid", **TINY).override("mixer.beta_max", 1.0)
    x = tokens(1, 20)
    with torch.no_grad():
        assert gap(model(narrow)(x).logits, model("olmo_hybrid", **TINY)(x).logits) > 1e-3


@pytest.mark.parametrize("floor, factor, exponent", [
    (1.2, 1.3, 0.35), (0.0, 4.0, 0.1), (1.69, 400.0, 0.34), (2.0, 50.0, 0.8),
])  # fmt: skip
def test_the_fitter_recovers_planted_exponents(floor, factor, exponent):
    """(5) from noiseless losses, within 1%: over parameters and, in the same form, over tokens."""
    for sizes in (np.geomspace(1e5, 1e7, 5), np.geomspace(1e7, 3e9, 6)):
        losses = [[floor + factor * n**-exponent] * 3 for n in sizes]
        fit = fit_scaling(sizes, losses, draws=5)
        assert fit.exponent == pytest.approx(exponent, rel=0.01) and fit.factor == pytest.approx(factor, rel=0.1)
        assert fit.floor == pytest.approx(floor, abs=0.01)
