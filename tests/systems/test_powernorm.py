"""What must hold of norms by running statistics over tokens."""

import numpy as np
import pytest
import torch
from system_cases import F64, normal, tokens

import blockyard as by
from blockyard.train import loop
from blockyard.train.loop import Run, Settings, train
from blockyard.transform.take import take

SIZE = dict(dim=16, layers=2, heads=2, vocab=64)


class Noise:
    """Batches that are a function of the step."""

    def next(self, step):
        return np.random.default_rng(step).integers(0, 64, (4, 17))


def call_of(x, valid=None):
    call, _ = by.Batch(x[..., 0], valid=valid).call(None, causal=True)
    return call._replace(dtype=x.dtype, tick=0, late={}, captures={})


def stepped(part, x, dh, valid=None):
    """The output, the gradient by x, and the part after the update of this one step."""
    x = x.clone().requires_grad_()
    call = call_of(x, valid)
    y = part(x, call)
    y.backward(dh)
    seen = {name.partition(":")[2]: value for (*_, name), value in call.captures.items()}
    with torch.no_grad():
        part.update(seen | {name: value for (*_, name), value in call.late.items()})
    return y.detach(), x.grad


def test_the_batch_form_has_the_closed_gradient():
    """(1) with dh the gradient by h: dx = (dh - h mean(dh h)) / psi."""
    part, x, dh = by.make("norm:power", dim=6, eps=0.0).double(), normal(2, 5, 6), normal(2, 5, 6, seed=1)
    _, dx = stepped(part, x, dh)
    psi = x.square().mean((0, 1)).sqrt()
    assert torch.allclose(dx, (dh - x / psi * (dh * x / psi).mean((0, 1))) / psi, atol=1e-10)


def test_what_gradients_lean_to_converges_at_its_rate():
    """(2) with frozen dh and h: q -> mean(dh h) / mean(h^2), and what is missing shrinks by 1 - (1 - a) mean(h^2)."""
    part = by.make("norm:power", dim=6, warmup=0, keep=0.5, eps=0.0).double()
    x, dh = normal(2, 5, 6), normal(2, 5, 6, seed=1)
    size, goal = x.square().mean((0, 1)), (dh * x).mean((0, 1)) / x.square().mean((0, 1))
    for step in range(400):
        before = part.lean.clone()
        stepped(part, x, dh)
        part.square.fill_(1.0)
        if step < 5:
            assert torch.allclose(part.lean - goal, (1 - 0.5 * size) * (before - goal), atol=1e-10)
    assert torch.allclose(part.lean, goal, atol=1e-8)


@pytest.mark.parametrize("name", ["norm:power", "norm:batch"])
@pytest.mark.parametrize("settings", [{}, dict(warmup=0), dict(first="l2")], ids=str)
def test_padding_leaves_no_trace(name, settings):
    """(3) values in slots that do not count change neither statistics nor the outputs and gradients of the others."""
    if name == "norm:batch" and settings:
        pytest.skip("one form")
    x, dh, valid = normal(2, 5, 6), normal(2, 5, 6, seed=1), torch.ones(2, 5, dtype=torch.bool)
    valid[1, 3:] = False
    found = []
    for other in (x, torch.where(valid[..., None], x, 9.0)):
        part = by.make(name, dim=6, **settings).double()
        y, dx = stepped(part, other, dh * valid[..., None], valid)
        found.append((y[valid], dx[valid], *part.buffers()))
    assert all(torch.equal(a, b) for a, b in zip(*found))
    assert not torch.equal(
        found[0][2], by.make(name, dim=6).double().get_buffer(next(iter(dict(part.named_buffers()))))
    )


@torch.no_grad()
def test_with_kept_statistics_training_is_evaluation():
    """(4) after the warm-up; then a token does not depend on later ones, before it does."""
    x, later = normal(2, 5, 6), normal(2, 5, 6, seed=2)
    other = torch.cat([x[:, :3], later[:, 3:]], 1)
    part = by.make("norm:power", dim=6, warmup=0, keep=1.0).double()
    part.square.fill_(2.0)
    y, _ = torch.enable_grad()(stepped)(part, x, x)
    assert torch.equal(y, part(x)) and torch.equal(part.square, torch.full((6,), 2.0, dtype=F64))
    assert torch.equal(part(other, call_of(other))[:, :3], y[:, :3])
    warm = by.make("norm:power", dim=6).double()
    assert (warm.keep, warm.warmup) == (0.9, 100)
    assert not torch.allclose(warm(other, call_of(other))[:, :3], warm(x, call_of(x))[:, :3])


@torch.no_grad()
def test_it_follows_the_published_recursion():
    """Ten steps, four of them warm, written out channel by channel; statistics divide the steps after their own."""
    part = by.make("norm:power", dim=3, warmup=4, keep=0.8, eps=1e-3).double()
    gain, psi, nu = part.gain.normal_(generator=torch.Generator().manual_seed(3)).clone(), np.ones(3), np.zeros(3)
    for step in range(10):
        x, dy = normal(2, 4, 3, seed=step) * (1 + step), normal(2, 4, 3, seed=50 + step)
        y, dx = torch.enable_grad()(stepped)(part, x, dy)
        for d in range(3):
            xs, g = x[..., d].numpy().ravel(), (dy[..., d] * gain[d]).numpy().ravel()
            moment = (xs**2).mean()
            root = np.sqrt((moment if step < 4 else psi[d]) + 1e-3)
            h = xs / root
            want = (g - h * (g * h).mean()) / root if step < 4 else (g - nu[d] * h) / root
            assert np.allclose(y[..., d].numpy().ravel(), gain[d].item() * h)
            assert np.allclose(dx[..., d].numpy().ravel(), want)
            psi[d] = (psi[d] * step + moment) / (step + 1) if step < 4 else 0.8 * psi[d] + 0.2 * moment
            if step >= 4:
                nu[d] = nu[d] * (1 - 0.2 * (h**2).mean()) + 0.2 * (g * h).mean()
        assert np.allclose(part.square.numpy(), psi) and np.allclose(part.lean.numpy(), nu)


def test_the_batch_norm_is_the_framework_s():
    mine, theirs = by.make("norm:batch", dim=6).double(), torch.nn.BatchNorm1d(6).double()
    for step in range(3):
        x, dh = normal(2, 5, 6, seed=step), normal(2, 5, 6, seed=9 + step)
        y, dx = stepped(mine, x, dh)
        flat = x.flatten(0, 1).requires_grad_()
        want = theirs(flat)
        want.backward(dh.flatten(0, 1))
        assert torch.allclose(y.flatten(0, 1), want, atol=1e-10)
        assert torch.allclose(dx.flatten(0, 1), flat.grad, atol=1e-10)
        theirs.running_var += 0.1 * (x.flatten(0, 1).var(0, correction=0) - x.flatten(0, 1).var(0))
    theirs.eval()
    assert torch.allclose(mine.mean, theirs.running_mean) and torch.allclose(mine(x[0]), theirs(x[0]), atol=1e-10)


def trained(recompute=False, micro=None, steps=5, **settings):
    spec = by.spec("powernorm", **SIZE, **settings)
    model = by.build(spec).double()
    model.recompute = recompute
    train(spec, model, Noise(), Settings(steps=steps, lr=1e-2, micro=micro))
    return [*model.parameters(), *model.buffers()]


@pytest.mark.parametrize(
    "settings", [dict(warmup=0), dict(warmup=5), {"residual.norm": "batch", "head.norm": "batch"}], ids=str
)
def test_neither_recomputation_nor_micro_batches_change_a_run(settings):
    """Bit by bit where a batch is not taken in pieces, which statistics of a batch forbid."""
    plain = trained(**settings)
    assert all(torch.equal(a, b) for a, b in zip(plain, trained(recompute=True, **settings)))
    pieces, tolerance = trained(micro=1, **settings), 1e-9 if settings.get("warmup") == 0 else 0.0
    assert max((a - b).abs().max() for a, b in zip(plain, pieces)) <= tolerance
    start = by.build("powernorm", **SIZE, **settings).double()
    still = "lean" if settings.get("warmup") else "none"  # in the warm-up backward leaves nothing
    moved = zip(start.named_buffers(), plain[-len([*start.buffers()]) :])
    assert all(torch.equal(a, b) == name.endswith(still) for (name, a), b in moved)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    """Inside the warm-up and behind it."""
    spec = by.spec("powernorm", **SIZE, warmup=3)
    whole = by.build(spec)
    settings = Settings(steps=8, lr=1e-2, log_every=1, save_seconds=0.0)
    train(spec, whole, Noise(), settings)
    for stop in (2, 6):

        def watch(step, loss, stop=stop):
            if step == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(spec, by.build(spec), Noise(), settings, tmp_path / str(stop), watch)
        again = by.build(spec)
        train(spec, again, Noise(), settings, tmp_path / str(stop))
        assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), whole.state_dict().values()))


def test_statistics_are_saved_and_narrowed(tmp_path):
    spec = by.spec("powernorm", **SIZE, warmup=1)
    model = by.build(spec)
    train(spec, model, Noise(), Settings(steps=3, lr=1e-2))
    model.save(tmp_path / "m")
    x = tokens(2, 9, 64)
    assert torch.equal(by.load(tmp_path / "m")(x).logits, model(x).logits)
    same, _ = take(model.double(), "stream", torch.randperm(16, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(same(x).logits, model(x).logits, atol=1e-10)
    half, lineage = take(model, "stream", torch.arange(8))
    assert torch.equal(half.head.norm.square, model.head.norm.square[:8]) and "head.norm.lean" in lineage


def test_out_of_memory_does_not_cut_a_batch_that_must_stay_whole(monkeypatch):
    def tight(self, batch, micro):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Run, "_accumulate", tight)
    spec = by.spec("powernorm", **SIZE)
    with pytest.raises(torch.OutOfMemoryError):
        loop.train(spec, by.build(spec), Noise(), Settings(steps=1, lr=1e-2))
