"""Two filters over frames: the sum that they are, and rows that are padded."""

import pytest
import torch

import blockyard as by
from blockyard.core.spec import block, channel, depth, head, mixer, model, norm, residual, stem


@pytest.fixture
def made():
    attention = mixer("attention", heads=2, position=None)
    parts = dict(
        stem=stem("conv_frames", channels=3, position="learned"), blocks=(block("a", attention, channel("mlp")),),
        residual=residual("prenorm"), depth=depth("stack", layers=1), head=head("stream", norm=norm("rms")),
    )  # fmt: skip
    built = by.build(model(dim=8, causal=False, length=9, **parts)).double()
    draw = torch.Generator().manual_seed(0)
    for p in built.parameters():
        p.data = torch.randn(p.shape, generator=draw, dtype=torch.float64) * 0.5
    return built


def frames(rows, count):
    return torch.randn(rows, count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_it_is_two_sums_over_neighbours(made):
    own, x = made.stem, frames(1, 7)[0]
    wide = torch.nn.functional.pad(x, (0, 0, 1, 1))
    h = torch.stack([sum(own.first[:, :, u] @ wide[t + u] for u in range(3)) + own.first_bias for t in range(7)])
    h = torch.nn.functional.pad(torch.nn.functional.gelu(h), (0, 0, 1, 1))
    y = torch.stack([sum(own.second[:, :, u] @ h[2 * t + u] for u in range(3)) + own.second_bias for t in range(4)])
    wanted = torch.nn.functional.gelu(y) + own.position.table[:4]
    assert torch.allclose(made.start(by.Batch(x[None])).x[0], wanted, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 4, 5])
def test_padding_changes_nothing(made, count):
    x, valid = frames(2, 8), torch.arange(8) < torch.tensor([[8], [count]])
    padded = made(by.Batch(x, valid=valid)).prediction["stream"]
    alone = made(by.Batch(x[1:, :count])).prediction["stream"]
    assert alone.shape[1] == -(-count // 2)
    assert torch.allclose(padded[1, : alone.shape[1]], alone[0], atol=1e-12)
    assert torch.allclose(padded[0], made(by.Batch(x[:1])).prediction["stream"][0], atol=1e-12)
