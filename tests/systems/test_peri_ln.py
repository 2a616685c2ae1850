"""What must hold of a norm on both sides of every sublayer."""

import pytest
import torch
from system_cases import NONE, by_twin, decode, gap, shake, tokens

import blockyard as by
from blockyard.core import Spec

TIGHT = Spec.of("norm", "rms", dict(eps=1e-12))
SIZE = dict(dim=16, heads=2, layers=3, vocab=32)


def system(rule="peri", norm=None, mixer=None):
    """The recipe with another residual rule, norm or mixer; the head's norm follows."""
    settings = {} if norm is None else {"norm": norm}

    def change(spec):
        if spec.kind == "residual":
            return Spec.of("residual", rule, settings)
        if spec.kind == "head":
            return spec.but(**settings)
        return Spec.of("mixer", mixer, dict(heads=2)) if spec.kind == "mixer" and mixer else spec

    return by.spec("peri_ln", **SIZE).map(change)


def built(spec, scale=1.0):
    """A model in double precision with random values everywhere, gains of either sign, weights times `scale`."""
    m = shake(by.build(spec).double())
    with torch.no_grad():
        for name, p in m.named_parameters():
            if p.dim() > 1 and name.startswith("steps"):
                p.mul_(scale)
    return m


def streams(m, x):
    """The stream before each step and after the last."""
    flow = m.start(x)
    flows = [flow]
    for step in range(len(m.steps)):
        flows.append(m.run(flows[-1], [step]))
    return [flow.x for flow in flows]


def size(x):
    return x.square().mean(-1).sqrt()


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_stream_grows_by_a_gain_a_sublayer_at_most(scale):
    """(1) rms(h_l) <= rms(h_0) + the sum of max|gamma_out| of the sublayers before, for any weights."""
    x = tokens(2, 20, 32)
    m = built(system(), scale)
    hs = streams(m, x)
    gains = [step.rule.norm_out.gain.abs().max() for step in m.steps]
    for i, h in enumerate(hs):
        assert bool((size(h) <= size(hs[0]) + sum(gains[:i]) + 1e-5).all())
    assert size(hs[-1]).mean() > size(hs[0]).mean()


@torch.no_grad()
def test_without_the_output_norm_the_bound_breaks():
    """(1) fails for pre-norm with large weights."""
    hs = streams(built(system("prenorm"), 30.0), tokens(2, 20, 32))
    assert bool((size(hs[-1]) > size(hs[0]) + 6 * 3).any())


@pytest.mark.parametrize("which", ["part.out.weight", "part.down.weight"])
@pytest.mark.parametrize("rule", ["peri", "prenorm"])
def test_the_scale_of_what_a_sublayer_writes_does_not_matter(rule, which):
    """(2) W_o or W_down times c leaves the logits, so <W, dLoss/dW> = 0; with pre-norm neither holds."""
    m, x = built(system(rule, TIGHT)), tokens(2, 20, 32)
    chosen = [p for name, p in m.named_parameters() if name.endswith(which)]
    logits = m(x).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].flatten())
    slopes = torch.autograd.grad(loss, chosen)
    along = max(((p * g).sum() / (p.norm() * g.norm())).abs().item() for p, g in zip(chosen, slopes))
    moved = []
    for factor in (0.3, 7.0):
        with torch.no_grad():
            for p in chosen:
                p.mul_(factor)
            moved.append(gap(m(x).logits, logits.detach()))
            for p in chosen:
                p.div_(factor)
    assert len(chosen) == 3
    assert (max(moved) < 1e-8 and along < 1e-6) if rule == "peri" else (min(moved) > 1e-3 and along > 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("empty, rule, kept", [("norm_out", "prenorm", "norm_in"), ("norm_in", "outnorm", "norm_out")])
def test_with_one_norm_left_out_it_is_the_simpler_rule(empty, rule, kept):
    """(3) N_out = identity is pre-norm; N_in = identity is the out-only form."""
    half, plain = built(system().at(f"steps.*.rule.{empty}", spec=NONE)), built(system(rule))
    theirs = half.state_dict()
    plain.load_state_dict({name: theirs[name.replace("rule.norm.", f"rule.{kept}.")] for name in plain.state_dict()})
    x = tokens(2, 20, 32)
    assert all(gap(a, b) < 1e-12 for a, b in zip(streams(half, x), streams(plain, x)))
    assert gap(half(x).logits, plain(x).logits) < 1e-12
    whole = built(system())
    whole.load_state_dict(theirs, strict=False)
    assert gap(whole(x).logits, plain(x).logits) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("mixer", ["attention", "gla", "deltanet"])
def test_causality_and_streaming_are_the_mixer_s(mixer):
    """(4) inherited: later tokens change nothing before them, chunked == token by token."""
    m, x = built(system(mixer=mixer)), tokens(2, 40, 32)
    whole = m(x).logits
    other = x.clone()
    other[:, 25] = (other[:, 25] + 1) % 32
    changed = m(other).logits
    assert gap(changed[:, :25], whole[:, :25]) < 1e-12 and gap(changed[:, 25], whole[:, 25]) > 1e-3
    assert gap(decode(m, x, 1)[0], whole) < 1e-10 and gap(decode(m, x, [17, 23])[0], whole) < 1e-10
    assert gap(by_twin("reference", m)(x).logits, whole) < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("rule, steady", [("peri", True), ("prenorm", False)])
def test_larger_output_projections_at_the_start_do_not_grow_the_stream(rule, steady):
    """(2) output projections four times as large at the start: pre-norm grows clearly, this one less than 1%."""
    m, x = by.build(system(rule)).double(), tokens(4, 30, 32)
    grown = []
    for factor in (1.0, 4.0):
        for step in m.steps:
            (step.part.down if step.part.spec.kind == "channel" else step.part.out).weight.mul_(factor)
        hs = streams(m, x)
        grown.append((size(hs[-1]).mean() / size(hs[0]).mean()).item())
    change = abs(grown[1] / grown[0] - 1)
    assert change < 0.01 if steady else change > 0.2
