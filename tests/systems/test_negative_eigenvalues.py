"""What must hold of transitions with eigenvalues down to -1."""

import math

import pytest
import torch
from system_cases import EXACT_UNIT, F64, NONE, by_twin, gap, grads, inner, normal, part, pieces

KINDS = ["deltanet", "gated_deltanet"]
H = 2
SCALAR = dict(heads=1, conv=None, norm=NONE, unit=EXACT_UNIT, key_dim=1, value_dim=1)


def by_hand(kind, beta_max, keys, rate):
    """A layer in which token i writes nothing, with key i and a step whose logit is rate[i]; inputs are one-hot."""
    count, K = keys.shape
    made = part(f"mixer:{kind}", dim=count, heads=1, key_dim=K, value_dim=K, conv=None, norm=NONE, beta_max=beta_max)
    with torch.no_grad():
        made.proj.weight.zero_()
        made.proj.weight[K : 2 * K] = 1e6 * keys.T  # so long that the floor under the length does not show
        made.proj.weight[-1] = torch.as_tensor(rate, dtype=F64).expand(count)
        if kind == "gated_deltanet":
            made.A_log.fill_(-80)
    return made


@torch.no_grad()
def transition(made, order):
    """What the tokens `order` do to the memory, as one matrix."""
    K, count = made.key_dim.size, made.stream.size
    x = torch.eye(count, dtype=F64)[torch.as_tensor(order)][None]
    return made(x, None, {"memory": torch.eye(K, dtype=F64)[None, None]})[1]["memory"][0, 0]


@torch.no_grad()
@pytest.mark.parametrize("twin", ["chunked", "reference"])
def test_parity_over_ten_thousand_bits(twin):
    """(1) a_t = 1 - 2 x_t from h_0 = 1, in one channel of a hand-set layer, is the parity of the bits, exactly."""
    made = part("mixer:deltanet", dim=2, beta_max=2.0, **SCALAR)
    # channels of the input: the bit, and one; rows: q, k, v and the step
    made.proj.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0], [1600.0, -800.0]]))
    made.out.weight.copy_(torch.tensor([[1.0], [0.0]]))
    bits = (normal(1, 10_000) > 0).double()
    x = torch.stack([bits, torch.ones_like(bits)], -1)
    y, _ = by_twin(twin, made)(x, None, {"memory": torch.ones(1, 1, 1, 1, dtype=F64)})
    assert torch.equal(y[..., 0], 1 - 2 * (bits.cumsum(1) % 2))


@torch.no_grad()
def test_with_eigenvalues_in_zero_to_one_no_setting_alternates():
    """(1) with a in [0,1], T and T+1 ones look the same once T is large, whatever the step and the write."""
    made = part("mixer:deltanet", dim=2, beta_max=1.0, **SCALAR)
    x = torch.tensor([0.0, 1.0], dtype=F64).expand(1, 3000, 2)
    apart = []
    for beta_max in (1.0, 2.0):
        made.beta_max = beta_max
        for rate in (-800.0, -4.0, -2.0, 0.0, 2.0, 800.0):
            for write in (0.0, 1.0, -3.0):
                made.proj.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, write], [0.0, rate]]))
                made.out.weight.fill_(1.0)
                y, _ = made(x, None, {"memory": torch.ones(1, 1, 1, 1, dtype=F64)})
                apart.append((y[0, -1] - y[0, -2]).abs().max().item())
    assert max(apart[:18]) < 1e-6 < 1 < max(apart[18:])


@torch.no_grad()
@pytest.mark.parametrize("name", ["gla", "hgrn2", "retnet", "mamba", "mamba2", "deltanet", "gated_deltanet"])
def test_positive_transitions_converge_on_all_ones(name):
    """(1) a layer of random weights whose transition is positive settles on a token that repeats."""
    settings = {"mamba": {}, "mamba2": dict(head_dim=4, state=4), "retnet": dict(heads=2, position=None)}
    made = part(f"mixer:{name}", dim=8, **settings.get(name, dict(heads=2)))
    if name.startswith("mamba"):
        made.dt_bias.add_(5)
    y, _ = pieces(made, normal(1, 1, 8).expand(1, 4000, 8), 4000)
    assert (y[:, -1] - y[:, -2]).abs().max() < 1e-6 < (y[:, 1] - y[:, 0]).abs().max()


@pytest.mark.parametrize("copies", [1, 3, 41])
@pytest.mark.parametrize("kind", KINDS)
def test_a_reflection_is_a_transposition(kind, copies):
    """(2) k = (e_1 - e_3)/sqrt(2) with a step of 2 exchanges rows 1 and 3; with a step of 1 it does not."""
    key = torch.tensor([[0.0, 0.5**0.5, 0.0, -(0.5**0.5)]], dtype=F64)
    swap = torch.eye(4, dtype=F64)[[0, 3, 2, 1]]
    error = lambda beta_max: (transition(by_hand(kind, beta_max, key, 40.0), [0] * copies) - swap).abs().max()  # noqa: E731
    assert error(2.0) < 1e-12 < 0.4 < error(1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_two_reflections_are_a_third_of_a_turn(kind):
    """(3) reflections at 0 and 60 degrees compose to R, a turn by 120 degrees, and R^3 = I."""
    angles = torch.tensor([0.0, math.pi / 3], dtype=F64)
    made = by_hand(kind, 2.0, torch.stack([angles.cos(), angles.sin()], -1), 40.0)
    R = transition(made, [0, 1])
    c, s = math.cos(2 * math.pi / 3), math.sin(2 * math.pi / 3)
    assert (R - torch.tensor([[c, -s], [s, c]], dtype=F64)).abs().max() < 1e-12
    assert (torch.linalg.matrix_power(R, 3) - torch.eye(2, dtype=F64)).abs().max() < 1e-12
    assert (transition(made, [0, 1] * 3) - torch.eye(2, dtype=F64)).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_no_transition_expands(kind):
    """(4) the norm of each transition is at most 1 for steps in [0,2]; a longer one would expand."""
    x, width = 3 * normal(200, 1, 16), {"deltanet": 8, "gated_deltanet": 6}[kind]
    eye = {"memory": torch.eye(width, dtype=F64).expand(200, H, width, width)}
    for beta_max, contracts in ((2.0, True), (2.2, False)):
        made = part(f"mixer:{kind}", heads=H, value_dim=width, beta_max=2.0)
        made.beta_max = beta_max  # no setting takes more than 2
        made.proj.weight[-H:] *= 4
        if kind == "gated_deltanet":
            made.A_log.sub_(12)  # a strong fade would hide an expansion
        _, leaves, n = inner(made, x, "beta", state=eye, v=torch.zeros_like)
        assert n["beta"].min() < 0.1 and n["beta"].max() > 1.95
        assert (torch.linalg.matrix_norm(leaves["memory"], 2).max() <= 1 + 1e-12) == contracts


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_default_range_is_the_plain_layer(kind):
    """(5) to the bit: the step is sigmoid(w_b x), and the wider range doubles just that."""
    x = normal(2, 40, 16)
    default, same, wide = (part(f"mixer:{kind}", heads=H, **kw) for kw in ({}, dict(beta_max=1.0), dict(beta_max=2.0)))
    plain = (default.proj(x)[..., -H:]).sigmoid()
    assert torch.equal(default(x)[0], same(x)[0])
    assert torch.equal(default(x)[0], inner(default, x, beta=lambda beta: plain)[0])
    assert torch.equal(wide(x)[0], inner(default, x, beta=lambda beta: 2 * plain)[0])
    assert gap(wide(x)[0], default(x)[0]) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_chunked_is_recurrent_for_steps_above_one(kind):
    """(5) chunked == recurrent with eigenvalues below 0, gradients and carried states included."""
    made, x = part(f"mixer:{kind}", heads=H, beta_max=2.0), normal(2, 75, 16)
    with torch.no_grad():
        made.proj.weight[-H:] *= 3
        beta = inner(made, x, "beta")[2]["beta"]
        assert (beta > 1).double().mean() > 0.3 and beta.max() > 1.9
        loop = by_twin("reference", made)(x)[0]
        assert gap(by_twin("chunked", made)(x)[0], loop) < 1e-10
        assert max(gap(pieces(made, x, size)[0], loop) for size in (1, 16, 64)) < 1e-10
    by_loop, by_chunks = (grads(by_twin(t, lambda x: made(x)[0]), made, x[:, :40]) for t in ("reference", "chunked"))
    assert max(gap(a, b) for a, b in zip(by_chunks, by_loop)) < 1e-8


@torch.no_grad()
@pytest.mark.parametrize("steps", [2, 3])
def test_virtual_tokens_are_the_explicit_product(steps):
    """(6) n_h tokens in place of one, each written, the query read after the last: prod_j (I - b_j k_j k_j^T)."""
    T, K = 25, 8
    made = part("mixer:deltanet", heads=H, beta_max=2.0, norm=NONE)
    x = normal(2, T, 16).repeat_interleave(steps, 1)
    k = torch.nn.functional.normalize(normal(2, T * steps, H, K, seed=3), dim=-1)
    beta, v = 2 * normal(2, T * steps, H, seed=5).sigmoid(), normal(2, T * steps, H, K, seed=4)
    n = inner(made, x, "q", "context", k=lambda _: k, v=lambda _: v, beta=lambda _: beta)[2]
    S, eye = torch.zeros(2, H, K, K, dtype=F64), torch.eye(K, dtype=F64)
    read = []
    for t in range(T):
        product, written = eye.expand(2, H, K, K), torch.zeros(2, H, K, K, dtype=F64)
        for j in range(t * steps, (t + 1) * steps):
            key, b = k[:, j, :, :, None], beta[:, j, :, None, None]
            product = (eye - b * key @ key.mT) @ product
            written = (eye - b * key @ key.mT) @ written + b * key @ v[:, j, :, None]
        S = product @ S + written
        read.append((S.mT @ n["q"][:, (t + 1) * steps - 1, :, :, None]).flatten(1) * K**-0.5)
    assert gap(n["context"][:, steps - 1 :: steps], torch.stack(read, 1)) < 1e-11
