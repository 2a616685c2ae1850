"""Packed matrices: what is kept of the numbers, and the same product by every implementation."""

import pytest
import torch
from torch.nn.functional import linear

from blockyard.kernels import packed_linear
from blockyard.kernels.weights.op import packed_linear_reference
from blockyard.kernels.weights.packing import dense, pack, quantised, tiles_shape

SHAPES = [(16, 32), (48, 96), (5, 64), (33, 70), (100, 257)]


def matrix(N, K):
    return torch.randn(N, K) * torch.rand(N, 1)


@pytest.mark.parametrize("group", [32, 64])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("N,K", SHAPES)
def test_numbers_come_back_within_half_a_step(N, K, bits, group):
    W = matrix(N, K)
    packed = pack(W, bits, group)
    assert packed.shape == tiles_shape(N, K, bits, group) and packed.dtype == torch.uint8
    back = dense(packed, bits, group, K)
    assert back.shape == (16 * -(-N // 16), K) and not back[N:].any()
    steps = torch.stack([piece.abs().amax(1) for piece in W.split(group, 1)], 1) / (127 if bits == 8 else 7)
    steps = steps.repeat_interleave(group, 1)[:, :K]
    assert ((back[:N] - W).abs() <= (0.51 if bits == 8 else 1.2) * steps + 1e-6).all()
    rows = torch.randint(N, (7,))
    assert torch.equal(dense(packed, bits, group, K, rows), back[rows])


def test_four_bits_lose_less_than_by_the_largest_number_alone():
    W = torch.randn(64, 8, 32)
    peak = W.gather(-1, W.abs().argmax(-1, keepdim=True))
    plain = (peak / -8).half().float()
    naive = ((W / plain).round().clamp(-8, 7) * plain - W).square().sum()
    codes, scales = quantised(W, 4)
    assert codes.min() >= -8 and codes.max() <= 7
    assert (codes * scales.float()[..., None] - W).square().sum() < 0.9 * naive


def test_what_is_on_the_grid_is_kept():
    W = torch.randint(-8, 8, (16, 64)).float()
    W[:, ::32] = -8.0
    assert torch.equal(dense(pack(0.25 * W, 4, 32), 4, 32, 64), 0.25 * W)
    assert torch.equal(dense(pack(torch.zeros(3, 32), 8, 32), 8, 32, 32)[:3], torch.zeros(3, 32))


@pytest.mark.parametrize("rows", [(1,), (4,), (3, 2), (9,), (40,)])
@pytest.mark.parametrize("bits,group", [(4, 32), (4, 64), (8, 32), (8, 64)])
@pytest.mark.parametrize("N,K", SHAPES)
def test_implementations_agree(N, K, bits, group, rows):
    packed, x = pack(matrix(N, K), bits, group), torch.randn(*rows, K)
    exact = packed_linear.reference(x.double(), packed, bits, group, N)
    for implementation in (packed_linear, packed_linear.chunked, packed_linear.cpu, packed_linear.reference):
        y = implementation(x, packed, bits, group, N)
        assert y.shape == (*rows, N) and (y - exact).abs().max() < 1e-5 * K**0.5 * max(1, exact.abs().max())
    short = packed_linear(x.bfloat16(), packed, bits, group, N)
    assert short.dtype == torch.bfloat16 and (short - exact).abs().max() < 0.05 * exact.abs().max()


def ways():
    weights = pytest.importorskip("blockyard.kernels.weights.cpu")
    return {"floats": weights.FLOATS} | ({} if weights.WAY is weights.FLOATS else {"bytes": weights.BYTES})


@pytest.mark.parametrize("B", [1, 4, 7])
@pytest.mark.parametrize("bits,group", [(4, 32), (4, 64), (8, 32), (8, 64)])
def test_every_way_of_multiplying_codes(bits, group, B):
    from blockyard.kernels.weights.cpu import few

    packed, x = pack(matrix(48, 192), bits, group), torch.randn(B, 192) * torch.rand(B, 192) ** 8
    x[:, 32:64] = 0
    x[0, 100] = 1e4  # its neighbours lose what 16 bits beside it cannot hold, the other blocks nothing
    exact = packed_linear_reference(x.double(), packed, bits, group, 48)
    steps = x.double().unflatten(1, (-1, 32)).abs().amax(2) / 65024  # half of one
    sizes = dense(packed, bits, group, 192).double().abs().unflatten(1, (-1, 32)).sum(2)
    bound = (1.2 * steps @ sizes.T) + 1e-4
    for way in ways().values():
        y = few(x, packed, bits, group, way)
        assert ((y - exact).abs() <= bound).all()
        alone = torch.cat([few(row, packed, bits, group, way) for row in x.split(1)])
        assert torch.equal(y, alone)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_lost(bad):
    from blockyard.kernels.weights.cpu import few

    packed, x = pack(matrix(16, 64), 8, 32), torch.randn(2, 64)
    x[1, 40] = bad
    for way in ways().values():
        y = few(x, packed, 8, 32, way)
        assert y[0].isfinite().all() and not y[1].isfinite().any()


def test_gradients_reach_what_is_multiplied():
    packed, x = pack(matrix(20, 64), 8, 32), torch.randn(3, 64, requires_grad=True)
    packed_linear(x, packed, 8, 32, 20).sum().backward()
    W = dense(packed, 8, 32, 64)[:20]
    assert torch.allclose(x.grad, W.sum(0).expand(3, -1), atol=1e-5)
    assert torch.allclose(packed_linear(x, packed, 8, 32, 20), linear(x, W), atol=1e-5)
