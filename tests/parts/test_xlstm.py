"""Matrix and scalar memories with exponential gates, each against its equations with nothing held down."""

import torch

import blockyard as by
from blockyard.core import Call


def made(name, **settings):
    """In double precision, with every number moved, and input gates that matter from the first token on."""
    part, draw = by.make(name, dim=12, **settings).double(), torch.Generator().manual_seed(2)
    for p in part.parameters():
        p.data += 0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return part


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def normed(part, h):
    """Each head (B,H,V) by itself, then a gain for every channel."""
    h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True, unbiased=False) + part.norm.eps).sqrt()
    return h.flatten(-2) * part.norm.gain


def memory_by_hand(part, x, H, K, V):
    """No m anywhere: S and n as they are, with e^i in them."""
    q, k, v, o = (x @ part.proj.weight.T).split([H * K, H * K, H * V, H * V], -1)
    i, f = (x @ part.gate_in.weight.T).split(H, -1)
    i, f = 15 * torch.tanh((i + part.write_bias) / 15), 15 * torch.tanh((f + part.keep_bias) / 15)
    S, n, out = x.new_zeros(len(x), H, K, V), x.new_zeros(len(x), H, K), []
    for t in range(x.shape[1]):
        key, query = k[:, t].view(-1, H, K), q[:, t].view(-1, H, K) / K**0.5
        keep, write = torch.sigmoid(f[:, t]), torch.exp(i[:, t])
        S = keep[..., None, None] * S + write[..., None, None] * key[..., None] * v[:, t].view(-1, H, 1, V)
        n = keep[..., None] * n + write[..., None] * key
        h = (S * query[..., None]).sum(-2) / (n * query).sum(-1).abs().clamp(min=1)[..., None]
        out.append((normed(part, h) * torch.sigmoid(o[:, t])) @ part.out.weight.T)
    return torch.stack(out, 1)


def test_a_matrix_memory_token_by_token():
    x = normal(2, 41, 12)
    part = made("mixer:mlstm", heads=3, key_dim=2, value_dim=5, eps=0.0)
    part.write_bias.data += 10
    assert (part(x)[0] - memory_by_hand(part, x, 3, 2, 5)).abs().max() < 1e-10


def test_a_matrix_memory_starts_anew_at_a_document_and_passes_over_padding():
    part, x = made("mixer:mlstm", heads=2, eps=0.1), normal(1, 23, 12)
    part.write_bias.data += 9
    valid = torch.ones(1, 23, dtype=torch.bool)
    valid[:, [3, 14]] = False
    reset = torch.zeros(1, 23, dtype=torch.bool)
    reset[:, 9] = True
    y = part(x, Call.plain(x)._replace(valid=valid, reset=reset))[0]
    for rows in ([0, 1, 2, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13, *range(15, 23)]):
        assert (y[:, rows] - part(x[:, rows])[0]).abs().max() < 1e-12


def test_a_scalar_memory_token_by_token():
    H, P = 3, 4
    part, x = made("mixer:slstm", heads=H), normal(2, 17, 12)
    gates = x @ part.proj.weight.T + torch.cat([part.write_bias, part.keep_bias, part.z_bias, part.gate_bias])
    R = part.recurrent.view(4, H, P, P)
    h, c, n, out = (*x.new_zeros(3, 2, H, P), [])
    for t in range(17):
        i, f, z, o = (gates[:, t].view(2, 4, H, P)[:, g] + torch.einsum("hpr,bhr->bhp", R[g], h) for g in range(4))
        c = torch.sigmoid(f) * c + torch.exp(i) * torch.tanh(z)
        n = torch.sigmoid(f) * n + torch.exp(i)
        h = torch.sigmoid(o) * c / n
        out.append(normed(part, h) @ part.out.weight.T)
    assert (part(x)[0] - torch.stack(out, 1)).abs().max() < 1e-12


def test_a_scalar_memory_of_gates_beyond_all_bounds_is_finite():
    part, x = made("mixer:slstm", heads=2).float(), (3 * normal(1, 30, 12)).float().requires_grad_()
    part.write_bias.data += torch.tensor([300.0, -300.0]).repeat(6)
    part(x)[0].sum().backward()
    assert part(x)[0].isfinite().all() and x.grad.isfinite().all()
