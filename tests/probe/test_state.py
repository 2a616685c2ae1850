"""The state probe against what the mixers do: each transition is measured on impulses, token by token."""

import math

import numpy as np
import pytest
import torch

import blockyard as by
from blockyard.core import Part, UsageError, registry
from blockyard.probe import state_probe
from blockyard.probe.state import _horizon, _rank
from tests.asked import promising, silent
from tests.cover import each


def tiny(what, **overrides):
    model = (by.build(what, "tiny", **overrides) if isinstance(what, str) else by.build(what)).double()
    draw = torch.Generator().manual_seed(5)
    for p in model.parameters():
        p.data += 0.2 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return model


def far(name):
    """The recipe in which what can be turned round is."""
    return by.spec(name, "tiny").map(lambda s: s.but(beta_max=2.0) if "beta_max" in schema(s) else s)


def schema(spec):
    return registry.find(spec.kind, spec.name).schema if spec.kind == "mixer" else {}


def ids(rows=2, length=6):
    return torch.randint(0, 256, (rows, length), generator=torch.Generator().manual_seed(1))


def with_memory(state, place, memory):
    return state.put(place, {**state.get(place), "memory": memory})


@torch.no_grad()
def measured(model, tokens, place):
    """(B,T,H,K,K): what each token does to each direction of the memory of a step."""
    state, found = model.init_state(len(tokens)), []
    start = model(tokens[:, :1], state).state.get(place)["memory"]
    square, states = start.dim() == 4, start.shape[2] if start.dim() == 4 else start.shape[-1]
    state = with_memory(state, place, torch.zeros_like(start))
    for token in tokens.split(1, 1):
        after = model(token, state).state
        columns = []
        for i in range(states):
            impulse = torch.zeros_like(start)
            impulse[(slice(None), slice(None), i) if square else (..., i)] = 1.0
            moved = model(token, with_memory(state, place, state.get(place)["memory"] + impulse)).state
            change = moved.get(place)["memory"] - after.get(place)["memory"]
            if square:  # every column of values is moved alike
                assert (change - change[..., :1]).abs().max() < 1e-9
            columns.append(change[..., 0] if square else change)
        found.append(torch.stack(columns, -1))
        state = after
    return torch.stack(found, 1)


def miss(model, tokens):
    """How far the probe's eigenvalues and influences of the first recurrent step are from the measured ones."""
    found = state_probe(model, tokens)
    if not found:
        return 0.0
    path = min(key.partition(":")[0] for key in found)
    moves = measured(model, tokens, (int(path.split(".")[1]), 0))
    values = np.repeat(found[f"{path}:eigenvalues"], found[f"{path}:multiplicity"], -1)
    truth = torch.linalg.eigvals(moves)
    assert truth.imag.abs().max() < 1e-6 and values.shape == tuple(truth.shape)
    product, left = torch.eye(moves.shape[-1], dtype=torch.float64), []
    for t in range(tokens.shape[1]):
        product = moves[:, t] @ product
        left.append((product.square().sum((-1, -2)) / moves.shape[-1]).mean(0).sqrt())
    return max(
        np.abs(np.sort(values, -1) - truth.real.sort(-1).values.numpy()).max(),
        np.abs(found[f"{path}:influence"] - torch.stack(left, -1).numpy()).max(),
    )


@pytest.mark.parametrize("name", each(promising("streams", "of_ids")))
def test_eigenvalues_and_influence_are_those_of_the_steps(name):
    turned = far(name)
    model, tokens = tiny(turned), ids()
    assert miss(model, tokens) < 1e-6
    found = state_probe(model, tokens)
    kept = model(tokens, model.init_state(2)).state.leaves
    recurrent = {f"steps.{place[0]}.part" for place, leaves in kept.items() if "memory" in leaves}
    assert {key.partition(":")[0] for key in found} == recurrent
    assert all((value > 0).all() for key, value in found.items() if key.endswith(":horizon"))
    if any("beta_max" in schema(spec) for spec in turned.walk()):
        assert min(value.min() for key, value in found.items() if key.endswith(":eigenvalues")) < 0


@pytest.mark.parametrize("name, point", [("gla", "decay"), ("deltanet", "beta"), ("deltanet", "k"), ("mamba", "dt")])
def test_points_that_lie_are_caught(name, point, monkeypatch):
    honest = Part.point

    def lying(part, asked, value, call):
        if asked == point and call.points is not None:
            honest(part, asked, value * 0.7, call)
            return value
        return honest(part, asked, value, call)

    monkeypatch.setattr(Part, "point", lying)
    assert miss(tiny(name), ids()) > 1e-3


def test_known_answers():
    found = state_probe(by.build("retnet", "tiny"), ids(3, 40))
    rate = 1 - 2.0 ** (-5 - np.arange(found["steps.0.part:horizon"].shape[0]))
    assert np.allclose(found["steps.0.part:eigenvalues"], rate[None, None, :, None], atol=1e-6)
    assert np.allclose(found["steps.0.part:horizon"], math.log(0.5) / np.log(rate), rtol=1e-3)
    assert np.allclose(_horizon(0.9 ** np.arange(1, 41)[None]), math.log(0.5) / math.log(0.9))
    assert np.allclose(_horizon(0.9 ** np.arange(1, 4)[None]), math.log(0.5) / math.log(0.9))
    assert _horizon(np.ones((1, 9)))[0] == math.inf and _horizon(np.zeros((1, 3)))[0] < 1
    turned = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    for sizes, rank in (([1, 1, 1, 0, 0, 0], 3), ([1, 0, 0, 0, 0, 0], 1), ([0] * 6, 0)):
        assert abs(float(_rank(turned @ torch.diag(torch.tensor(sizes).double()))) - rank) < 1e-9


@pytest.mark.parametrize("name", each(silent("streams")))
def test_a_model_without_a_state_has_none_to_look_at(name):
    with pytest.raises(UsageError, match="a state needs a model that goes on from a state"):
        state_probe(by.build(name, "tiny"), ids())


@pytest.mark.parametrize("name", each(promising("streams", "of_ids")))
def test_rank_and_bytes(name):
    model = by.build(name, "tiny")
    found = state_probe(model, ids(2, 1))
    state = model(ids(2, 1), model.init_state(2)).state
    for key, value in found.items():
        if key.endswith(":rank"):
            assert value.shape[0] == 2 and (value > 0).all()
            # one token writes one outer product; channels that have a vector each have different speeds
            vectors = state.get((int(key.split(".")[1]), 0))["memory"].dim() == 3
            assert vectors or np.allclose(value, 1, atol=1e-2)
    places = {int(key.split(".")[1]) for key in found}
    total = sum(t.numel() * 4 for step in places for t in by_leaf(state.get((step, 0))))
    assert sum(int(v) for key, v in found.items() if key.endswith(":bytes")) * 2 == total


def by_leaf(leaves):
    for value in leaves.values():
        yield from by_leaf(value) if isinstance(value, dict) else [value]


def test_facts_asked_for_are_those_of_all():
    for name in ("mamba", "gated_deltanet", "retnet"):
        model, tokens = tiny(name), ids()
        found, few = state_probe(model, tokens), state_probe(model, tokens, facts=("rank", "horizon"))
        assert {key.partition(":")[2] for key in few} == {"rank", "horizon"}
        assert all(np.array_equal(value, found[key]) for key, value in few.items())
    with pytest.raises(UsageError, match="horizon"):
        state_probe(model, tokens, facts=("horizons",))


@pytest.mark.parametrize("name", ["gla", "olmo_hybrid", "llama"])
def test_weights_and_mode_stay(name):
    model = by.build(name, "tiny")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = state_probe(model, ids())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(isinstance(value, np.ndarray) for value in found.values())
    if name == "llama":
        assert found == {}
    if name == "olmo_hybrid":
        attention = [m.path for m in model.modules() if type(m).__name__ == "Attention"]
        assert attention and not any(key.startswith(tuple(attention)) for key in found)


def test_the_reach_shows():
    low, high = (tiny("deltanet", **{"mixer.beta_max": beta_max}) for beta_max in (1.0, 2.0))
    assert state_probe(low, ids(4, 30))["steps.0.part:eigenvalues"].min() > -1e-9
    assert state_probe(high, ids(4, 30))["steps.0.part:eigenvalues"].min() < -0.1


def test_bad_data_gets_a_line():
    with pytest.raises(by.UsageError, match="rows of 1 tokens or more"):
        state_probe(by.build("gla", "tiny"), ids()[0])
