"""The scan of a vector memory per channel in slices of tokens, channels last.

Slices are such that decays and states fit the cache; only the state before each slice is kept for backward.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..toolkit.chunks import LOG2E, state_dtype
from .reference import selective_scan_reference

LN2 = 1 / LOG2E


def selective_scan_chunked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, initial_state: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Slices of tokens."""
    if x.shape[1] == 0:
        return selective_scan_reference(x, dt, A, B, C, initial_state=initial_state)
    dtype = state_dtype(x)
    xs, step, write, read = (t.transpose(0, 1).to(dtype).contiguous() for t in (x, dt, B, C))
    rate = (A.to(dtype) * LOG2E).t().contiguous()
    if initial_state is None:
        start = xs.new_zeros(x.shape[0], *rate.shape)
    else:
        start = initial_state.to(dtype).transpose(1, 2).contiguous()
    keep = None if reset is None else (~reset).t()[:, :, None, None]
    if x.shape[1] == 1:
        decay = (step[0].unsqueeze(-2) * rate).exp2()
        decay = decay if keep is None else decay * keep[0]
        state = torch.addcmul((step[0] * xs[0]).unsqueeze(-2) * write[0].unsqueeze(-1), decay, start)
        y = (read[0].unsqueeze(-2) @ state).transpose(0, 1)
    else:
        size = max(8, min(64, 2**19 // max(1, start.numel())))  # about 2 MB a slice (measured on one thread)
        y, state, _ = _Slices.apply(step, step * xs, rate, write, read, start, keep, size)  # pyright: ignore
    return y.transpose(0, 1).to(x.dtype), state.transpose(1, 2)


def _states(step, push, rate, write, keep, state):
    """Decays and states (C,B,N,E) of one slice; states overwrite what is pushed in."""
    decay = (step.unsqueeze(-2) * rate).exp2_()
    if keep is not None:
        decay.mul_(keep)
    states = push.unsqueeze(-2) * write.unsqueeze(-1)
    for kept, here in zip(decay.unbind(0), states.unbind(0)):
        state = here.addcmul_(kept, state)
    return decay, states


class _Slices(torch.autograd.Function):
    """The scan over (T,B,E), channels last so that sums over the state are sums of rows; twice as fast as autograd.

    step, push (T,B,E)   rate (N,E)   write, read (T,B,N)   start (B,N,E)   keep (T,B,1,1) bool or None
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(step, push, rate, write, read, start, keep, size):
        state, before, out = start, [], []
        for i in range(0, step.shape[0], size):
            piece = slice(i, i + size)
            before.append(state)
            _, states = _states(step[piece], push[piece], rate, write[piece], _cut(keep, piece), state)
            state = states[-1].clone()
            out.append((read[piece].unsqueeze(-2) @ states).squeeze(-2))
        return torch.cat(out), state, torch.stack(before)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, keep, size = inputs
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(*tensors[:-1], keep, output[2])
        ctx.size = size

    @staticmethod
    @once_differentiable
    def backward(ctx, d_y, d_state, _):
        d_y = d_y.contiguous()
        step, push, rate, write, read, keep, before = ctx.saved_tensors
        d_step, d_push, d_write, d_read = [], [], [], []
        d_rate, behind = torch.zeros_like(rate), d_state
        for i, start in reversed(list(enumerate(before.unbind(0)))):
            piece = slice(i * ctx.size, (i + 1) * ctx.size)
            decay, states = _states(step[piece], push[piece], rate, write[piece], _cut(keep, piece), start)
            grads = d_y[piece].unsqueeze(-2) * read[piece].unsqueeze(-1)
            each, kept = grads.unbind(0), decay.unbind(0)
            each[-1].add_(behind)
            for t in range(len(each) - 2, -1, -1):
                each[t].addcmul_(kept[t + 1], each[t + 1])
            behind = kept[0] * each[0]
            d_read.append((states @ d_y[piece].unsqueeze(-1)).squeeze(-1))
            d_push.append((write[piece].unsqueeze(-2) @ grads).squeeze(-2))
            d_write.append((grads @ push[piece].unsqueeze(-1)).squeeze(-1))
            grads.mul_(decay)  # now the gradient of each exponent, once multiplied by the state before its token
            grads[0].mul_(start)
            grads[1:].mul_(states[:-1])
            d_step.append((grads * rate).sum(-2))
            d_rate = d_rate + (grads * step[piece].unsqueeze(-2)).sum((0, 1))
        whole = [torch.cat(parts[::-1]) for parts in (d_step, d_push, d_write, d_read)]
        return whole[0] * LN2, whole[1], d_rate * LN2, whole[2], whole[3], behind, None, None


def _cut(keep, piece):
    return None if keep is None else keep[piece]
