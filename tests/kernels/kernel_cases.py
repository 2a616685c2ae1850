"""Inputs for the kernel tests, and the comparison of two implementations through outputs and gradients."""

import torch
import torch.nn.functional as F

from blockyard.kernels import decayed_scan, delta_scan, diagonal_scan, dplr_scan, selective_scan

B, H, K, V = 2, 4, 6, 5
KINDS = ("scalar", "grouped", "vector", "delta", "gated", "selective", "diagonal")
OPS = {
    "scalar": decayed_scan,
    "grouped": decayed_scan,
    "vector": decayed_scan,
    "delta": delta_scan,
    "gated": delta_scan,
    "selective": selective_scan,
    "diagonal": diagonal_scan,
    "dplr": dplr_scan,
}


def log_decays(*shape, extreme=False):
    """Log-decays: mild, or mostly near 0 with exact zeros and falls down to -50 per token."""
    u = torch.rand(*shape, dtype=torch.float64)
    return torch.where(u < 0.3, 0.0, -50 * u**6) if extreme else -0.3 * u


def inputs(kind, T, *, extreme=False, state=False, segments=False, seed=0, widths=(K, V)):
    """(op, tensors by position, initial state or None, reset or None), float64."""
    K, V = widths
    torch.manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    if kind == "selective":
        x, rate = normal(B, T, K), -torch.rand(K, V, dtype=torch.float64) * (50 if extreme else 2)
        args = [x, torch.rand(B, T, K, dtype=torch.float64), rate, normal(B, T, V), normal(B, T, V)]
        start = normal(B, K, V)
    elif kind == "diagonal":
        args = [normal(B, T, K), log_decays(B, T, K, extreme=extreme)]
        start = normal(B, K)
    elif kind in ("delta", "gated"):
        keys = F.normalize(normal(B, T, H, K), dim=-1)
        args = [normal(B, T, H, K), keys, normal(B, T, H, V), 2 * torch.rand(B, T, H, dtype=torch.float64)]
        if kind == "gated":
            args.append(log_decays(B, T, H, extreme=extreme))
        start = normal(B, H, K, V)
    elif kind == "dplr":
        keys, rate = F.normalize(normal(B, T, H, K), dim=-1), torch.rand(B, T, H, K, dtype=torch.float64)
        log_decay = log_decays(B, T, H, K, extreme=extreme)
        args = [normal(B, T, H, K), normal(B, T, H, K), normal(B, T, H, V), -keys, rate * keys, log_decay]
        start = normal(B, H, K, V)
    else:
        G = 2 if kind == "grouped" else H
        log_decay = log_decays(B, T, H, K if kind == "vector" else 1, extreme=extreme)
        args = [normal(B, T, G, K), normal(B, T, G, K), normal(B, T, H, V), log_decay]
        start = normal(B, H, K, V)
    reset = torch.rand(B, T) < 0.15 if segments else None
    return OPS[kind], args, start if state else None, reset


def with_grads(implementation, args, start, reset):
    """y, final state, and the gradients of a random functional of both."""
    leaves = [t.clone().requires_grad_() for t in args]
    first = None if start is None else start.clone().requires_grad_()
    y, final = implementation(*leaves, initial_state=first, reset=reset)
    torch.manual_seed(1)
    weights = [
        torch.randn(t.shape, dtype=torch.float64).to(t.dtype) for t in (y, final)
    ]  # the same for every implementation
    loss = (y * weights[0]).sum() + (final * weights[1]).sum()
    wrt = leaves if first is None else [*leaves, first]
    grads = torch.autograd.grad(loss, wrt, allow_unused=True)
    return y.detach(), final.detach(), [torch.zeros_like(t) if g is None else g for g, t in zip(grads, wrt)]


def error(a, b):
    """Largest difference, relative to the size of the second where that is above one."""
    assert a.shape == b.shape and torch.isfinite(a).all()
    return ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1)).item() if a.numel() else 0.0
