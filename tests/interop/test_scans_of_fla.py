"""Scans against the plain loops of flash-linear-attention, each from its own file: the package needs Triton."""

from importlib.util import find_spec

import pytest
import torch
from torch.nn.functional import logsigmoid, normalize

from blockyard.bench.peers import fla
from blockyard.kernels import decayed_scan, delta_scan

pytestmark = pytest.mark.skipif(not find_spec("fla"), reason="needs the extra oracle")
B, T, H, K, V = 2, 37, 3, 8, 6
LIMIT = 1e-4  # the loops compute in float32, whatever they are given


@pytest.fixture
def given():
    rng = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=rng)

    q, k, v = draw(B, T, H, K), normalize(draw(B, T, H, K), dim=-1), draw(B, T, H, V)
    return q, k, v, draw(B, T, H).sigmoid(), logsigmoid(draw(B, T, H)), draw(B, H, K, V)


def agree(ours, theirs):
    for one, other in zip(ours, theirs):
        assert (one - other).abs().max() <= LIMIT


def test_gated_linear_attention(given):
    naive_recurrent_gla = fla("gla", "naive_recurrent_gla")
    q, k, v, _, _, start = given
    fade = logsigmoid(q.flip(1))
    ours = decayed_scan(q * K**-0.5, k, v, fade, initial_state=start)
    agree(ours, naive_recurrent_gla(q, k, v, fade, start, output_final_state=True))


def test_delta_rule(given):
    delta_rule_recurrence = fla("delta_rule", "delta_rule_recurrence")
    q, k, v, beta, _, start = given
    y, state = delta_scan(q * K**-0.5, k, v, beta, initial_state=start)
    agree((y.transpose(1, 2), state), delta_rule_recurrence(*(x.transpose(1, 2) for x in (q, k, v, beta)), start))


def test_gated_delta_rule(given):
    naive_recurrent_gated_delta_rule = fla("gated_delta_rule", "naive_recurrent_gated_delta_rule")
    q, k, v, beta, fade, start = given
    ours = delta_scan(q * K**-0.5, k, v, beta, fade, initial_state=start)
    theirs = naive_recurrent_gated_delta_rule(q, k, v, beta, fade, initial_state=start, output_final_state=True)
    agree(ours, theirs)
