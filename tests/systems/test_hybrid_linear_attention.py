"""What must hold of linear mixers beside full attention, at any ratio."""

import numpy as np
import pytest
import torch
from system_cases import F64, by_twin, decode, feed, gap, grads, model, normal, part, pieces, rms, silu, tokens

from blockyard.compare.plan.budget import solve
from blockyard.core import Axis, Site, Spec
from blockyard.core.site import BuildContext
from blockyard.core.spec import block, channel, depth, head, mixer, residual, stem
from blockyard.core.spec import model as model_spec
from blockyard.data import TrainOrder
from blockyard.kernels import decayed_scan
from blockyard.model.count import count_params
from blockyard.parts.mixer._floor import floor
from blockyard.parts.mixer.linear import hgrn2

MIXERS = ["hgrn", "retnet", "gla", "hgrn2", "deltanet", "gated_deltanet"]
H = 2


def heads(name):
    return {} if name == "hgrn" else {"heads": H}


def plan(pattern, layers):
    """The kinds of the layers that depth:hybrid lays."""
    site = Site("", Axis("stream", 8), BuildContext(0, Spec("linear", "dense")))
    made = site.build("depth", depth("hybrid", pattern=pattern, layers=layers), ("linear", "attention"))
    return [name for name, _ in made.plan()]


def stack(linear, pattern, layers):
    """A hybrid of one linear mixer and attention, which alone has rotary positions."""
    wide = channel("gated", inner=24)
    return model_spec(
        dim=16,
        stem=stem("tokens", vocab=32),
        blocks=(
            block("linear", mixer(linear, **heads(linear)), wide),
            block("attention", mixer("attention", heads=H), wide),
        ),
        residual=residual("prenorm"),
        depth=depth("hybrid", pattern=pattern, layers=layers),
        head=head("lm"),
    )


def bounded(seed=1):
    """HGRN-2 layers whose lower bounds are far from even, between layers of attention."""
    m = model(stack("hgrn2", "2*linear + attention", 9), seed)
    with torch.no_grad():
        m.steps[0].part.bounds.mul_(4)
    return m, [step.part for step in m.steps if step.part.spec.name == "hgrn2"]


@torch.no_grad()
def test_hgrn2_is_the_gated_scan_with_tied_keys():
    """(1) HGRN-2 is the gated linear scan with k = 1 - f, as the layer's weights alone say."""
    m, x = part("mixer:hgrn2", heads=H), normal(2, 75, 16)
    q, f, v = (y.view(2, 75, H, 8) for y in (x @ m.proj.weight.T).split(16, -1))
    keep = f.sigmoid()
    o, _ = decayed_scan(silu(q), 1 - keep, v, keep.log())
    assert gap(m(x)[0], rms(o, m.norm.gain).flatten(2) @ m.out.weight.T) < 1e-10
    S, out = torch.zeros(2, H, 8, 8, dtype=F64), []
    for t in range(75):
        S = keep[:, t, :, :, None] * S + (1 - keep[:, t])[..., None] * v[:, t, :, None]
        out.append((S.mT @ silu(q[:, t])[..., None]).squeeze(-1))
    assert gap(o, torch.stack(out, 1)) < 1e-10


@torch.no_grad()
def test_untied_keys_are_caught(monkeypatch):
    """(1) fails where the key is not what the forget gate leaves."""
    m, x = part("mixer:hgrn2", heads=H), normal(2, 20, 16)
    whole = m(x)[0]
    monkeypatch.setattr(hgrn2, "decayed_scan", lambda q, k, v, a, **rest: decayed_scan(q, 1 - k, v, a, **rest))
    assert gap(m(x)[0], whole) > 1e-2


@torch.no_grad()
def test_lower_bounds_rise_with_depth():
    """(2) gamma_0 = 0, gamma_l the softmax over layers summed over those before, in [0,1), and f >= gamma."""
    m, layers = bounded()
    bounds = torch.stack([floor(layer.bounds, layer.ordinal) for layer in layers])
    assert len(layers) == 6 and layers[0].bounds.shape[0] == 6
    assert bool((bounds[0] == 0).all()) and bool((bounds[1:] > bounds[:-1]).all()) and bool((bounds < 1).all())
    share = torch.softmax(layers[0].bounds, 0)
    assert gap(bounds[4], share[0] + share[1] + share[2] + share[3]) < 1e-12
    notes = m(tokens(2, 40, 32), points={"steps.*.part:decay": "read"}).captures
    by_path = {path: value for (_, _, path, _), value in notes.items()}
    for layer, bound in zip(layers, bounds):
        assert bool((by_path[layer.path].flatten(2).exp() >= bound - 1e-12).all()) and bool(
            (by_path[layer.path] < 0).all()
        )


@torch.no_grad()
def test_a_bound_of_its_own_layer_is_caught():
    """(2) fails where a layer counts itself in: the first bound is then not 0."""
    _, layers = bounded()
    layers[0].ordinal += 1
    assert (floor(layers[0].bounds, layers[0].ordinal) > 0).all()


@pytest.mark.parametrize("layers", [1, 4, 8, 23, 24, 25])
@pytest.mark.parametrize("ratio", [0, 1, 3, 6, 12, 24])
def test_a_ratio_lays_its_attention_layers(ratio, layers):
    """(3) r linear layers, then one of attention: floor(L/(r+1)) of them, every r+1st; r = 0 is attention alone."""
    kinds = plan("attention" if ratio == 0 else f"{ratio}*linear + attention", layers)
    assert [i for i, kind in enumerate(kinds) if kind == "attention"] == list(range(ratio, layers, ratio + 1))
    assert len(kinds) == layers and kinds.count("attention") == layers // (ratio + 1)


@pytest.mark.parametrize("layers", [1, 8])
def test_no_attention_is_pure_linear(layers):
    """(3) r = inf."""
    assert plan("linear", layers) == ["linear"] * layers


def test_the_arms_have_equal_parameters():
    """(4) every mixer alone, and one as hybrids of several ratios, asked for one size, within 2% of each other."""
    sizes = [count_params(solve(name, 2e5, {})) for name in [*MIXERS[1:], "llama", "hybrid_linear_attention"]]
    ratios = ("delta", "3*delta + attention", "delta + attention")
    sizes += [count_params(solve("olmo_hybrid", 2e5, {"depth.pattern": pattern})) for pattern in ratios]
    assert max(sizes) / min(sizes) <= 1.02


def test_the_order_of_the_data_is_the_seed_s():
    """(4) what a run reads at a step depends on the seed, not on the arm or on what was read before."""

    class Text:
        name, tokens = "train", np.random.default_rng(0).integers(0, 256, 5000)

        def __len__(self):
            return len(self.tokens)

    first, again, other = (TrainOrder(Text(), 16, 4, seed) for seed in (3, 3, 4))
    expected = [first.next(step) for step in range(200)]
    assert all(np.array_equal(again.next(step), expected[step]) for step in (199, 0, 77, 5))
    assert not any(np.array_equal(other.next(step), expected[step]) for step in range(200))


@pytest.mark.parametrize("name", MIXERS)
def test_chunked_is_recurrent(name):
    """(5) chunked == recurrent == token by token, with gradients, for every mixer that is there."""
    made, x = part(f"mixer:{name}", **heads(name)), normal(2, 75, 16)
    with torch.no_grad():
        loop = by_twin("reference", made)(x)[0]
        assert gap(by_twin("chunked", made)(x)[0], loop) < 1e-10
        assert max(gap(pieces(made, x, size)[0], loop) for size in (1, 16, 64)) < 1e-10
        assert gap(feed(made, x[:, 30:])[0], loop[:, 30:]) > 1e-3
    both = [grads(by_twin(twin, lambda x: made(x)[0]), made, x[:, :40]) for twin in ("chunked", "reference")]
    assert max(gap(a, b) for a, b in zip(*both)) < 1e-8


@pytest.mark.parametrize("name", MIXERS)
def test_saturated_gates_stay_finite(name):
    """(5) the same for inputs so large that every gate is shut or open, in single precision, backward too."""
    made, x = part(f"mixer:{name}", **heads(name)).float(), 200 * normal(1, 64, 16).float()
    run = lambda x: made(x)[0]  # noqa: E731
    with torch.no_grad():
        loop = by_twin("reference", run)(x)
        assert gap(run(x), loop) < 1e-3
    assert all(g.isfinite().all() for g in grads(run, made, x))


@torch.no_grad()
@pytest.mark.parametrize("name", MIXERS)
def test_hybrids_stream(name):
    """(5) in a hybrid of ratio 3 the whole equals its pieces, memories and caches side by side."""
    m, x = model(stack(name, "3*linear + attention", 4)), tokens(2, 30, 32)
    logits, state = decode(m, x, [13, 1, 1, 15])
    assert gap(logits, m(x).logits) < 1e-10
    assert ["cache" in state.get((i, 0)) for i in range(0, 8, 2)] == [False, False, False, True]
