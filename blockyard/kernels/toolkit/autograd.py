"""One autograd function for every scan: the token loops forward and backward, the chunked one beyond that."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

Given = tuple[Any, ...]  # tensors, or None


class Form(NamedTuple):
    """A scan over `given`: tensors by position, an initial state last, None where there is none.

    forward(given, reset, keep) -> y, final state, what backward needs besides `given` (nothing unless `keep`)
    backward(given, reset, kept, d_y, d_final) -> a gradient for each of `given`, in any precision
    again(*given[:-1], initial_state, reset) -> (y, final state): the implementation for derivatives of derivatives
    """

    forward: Callable[[Given, Tensor | None, bool], tuple[Tensor, Tensor, Given]]
    backward: Callable[[Given, Tensor | None, Given, Tensor, Tensor], Given]
    again: Callable[..., tuple[Tensor, Tensor]]


class _Scan(Function):
    @staticmethod
    def forward(ctx: Any, form: Form, reset: Tensor | None, *given: Tensor | None):  # pyright: ignore
        y, final, kept = form.forward(given, reset, True)
        ctx.form, ctx.count = form, len(given)
        ctx.save_for_backward(reset, *given, *kept)
        return y, final

    @staticmethod
    def backward(ctx: Any, d_y: Tensor, d_final: Tensor):  # pyright: ignore
        reset, *saved = ctx.saved_tensors
        given, kept = tuple(saved[: ctx.count]), tuple(saved[ctx.count :])
        if torch.is_grad_enabled():  # the gradient is to be differentiated
            grads = _again(ctx.form, given, reset, (d_y, d_final), ctx.needs_input_grad[2:])
        else:
            grads = ctx.form.backward(given, reset, kept, d_y, d_final)
        return None, None, *(None if t is None or g is None else g.to(t.dtype) for t, g in zip(given, grads))


def _again(form: Form, given: Given, reset: Tensor | None, d_out: Given, wanted: Any) -> Given:
    out = form.again(*given[:-1], initial_state=given[-1], reset=reset)
    at = [i for i, need in enumerate(wanted) if need]
    wrt: Any = [given[i] for i in at]
    found = torch.autograd.grad(out, wrt, d_out, create_graph=True, allow_unused=True)
    grads: list[Tensor | None] = [None] * len(given)
    for i, grad in zip(at, found):
        grads[i] = grad
    return tuple(grads)


def run(form: Form, *given: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Tensor]:
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        return _Scan.apply(form, reset, *given)  # pyright: ignore[reportReturnType]
    y, final, _ = form.forward(given, reset, False)
    return y, final
