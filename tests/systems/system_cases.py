"""What the tests of the systems share: parts with nothing left at its start, their inner values, their pieces."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import blockyard as by
from blockyard.core import Call, Spec
from blockyard.kernels import force

F64 = torch.float64
NONE = Spec("norm", "none")
EXACT_UNIT = Spec.of("norm", "l2", dict(eps=0.0))


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def shake(module, seed=1):
    """Every parameter away from its start: no gain of one, no bias of zero, gates far from even."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=rng, dtype=F64).to(p.dtype)
            if p.dim() < 2 or name.endswith(("A_log", "bounds")):
                p.add_(0.4 * noise)
            else:
                p.copy_(noise * p[0].numel() ** -0.5)
    return module


def part(name, dim=16, seed=1, **settings):
    """A part in double precision with random values in every parameter."""
    return shake(by.make(name, dim=dim, **settings).double(), seed)


def model(what, seed=1, **settings):
    """A model in double precision with random values in every parameter."""
    return shake(by.build(what, **settings).double(), seed)


def inner(made, x, *names, state=None, **replaced):
    """(y, leaves, {name: value}) of a part, with the points `names` read and others replaced by functions."""
    actions = {(made.path, name): action for name, action in replaced.items()}
    actions |= {(made.path, name): "read" for name in names}
    call = Call.plain(x)._replace(points=actions, captures={})
    y, leaves = made(x, call, state)
    return y, leaves, {name: call.captures[0, 0, made.path, name] for name in names}


def feed(made, x, state=None):
    """(y, state) of a mixer as a model would run it: positions placed, the state entered."""
    call, state = by.Batch(x[..., 0]).call(state, causal=True)
    call = call._replace(dtype=x.dtype)
    made.prepare(call)
    y, leaves = made(x, call, None if state is None else state.get("part"))
    return y, state if state is None else state.put("part", leaves)


def pieces(made, x, sizes):
    """(y, state) of a mixer that is fed x in pieces."""
    state, out = by.State.empty(x.shape[0]), []
    for piece in x.split(sizes, 1):
        y, state = feed(made, piece, state)
        out.append(y)
    return torch.cat(out, 1), state


def decode(made, tokens, sizes):
    """(logits, state) of a model that is fed its tokens in pieces."""
    state, out = made.init_state(tokens.shape[0]), []
    for piece in tokens.split(sizes, 1):
        step = made(piece, state)
        state = step.state
        out.append(step.logits)
    return torch.cat(out, 1), state


def tokens(rows, length, vocab=256, seed=0):
    return torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(seed))


def gap(a, b):
    """Largest difference, relative to the size of the second where that is above one."""
    assert a.shape == b.shape and torch.isfinite(a).all() and torch.isfinite(b).all()
    return ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1)).item()


def grads(run, made, x):
    """Gradients of a random functional of run(x) by x and by every parameter."""
    x = x.clone().requires_grad_()
    y = run(x)
    found = torch.autograd.grad((y * normal(*y.shape, seed=9)).sum(), [x, *made.parameters()], allow_unused=True)
    return [torch.zeros(1, dtype=F64) if g is None else g for g in found]


def by_twin(twin, run):
    """`run` with this twin of every kernel."""

    def forced(*args):
        with force(twin):
            return run(*args)

    return forced


def rms(x, gain, eps=1e-5):
    return gain * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()


def silu(x):
    return x / (1 + torch.exp(-x))


def short_conv(conv, x):
    """The filter of a short_conv with its activation, tap by tap."""
    width, y = conv.weight.shape[1], torch.zeros_like(x)
    for lag in range(width):
        shifted = torch.cat([torch.zeros_like(x[:, :lag]), x[:, : x.shape[1] - lag]], 1)
        y = y + shifted * conv.weight[:, width - 1 - lag]
    return silu(y if conv.bias is None else y + conv.bias)


class _Written(TorchDispatchMode):
    """Counts the elements that operations give back, so that work outside matrix products is seen too."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            self.elements += x.numel() if isinstance(x, torch.Tensor) else 0
        return out


def cost(name, length, **settings):
    """Operations of matrix products and elements written in one forward, as the kernels really run."""
    with torch.device("meta"), torch.no_grad():
        made, x = by.make(name, dim=16, **settings), torch.empty(1, length, 16)
        with FlopCounterMode(display=False) as products, _Written() as written:
            made(x)
    return products.get_total_flops() + written.elements
