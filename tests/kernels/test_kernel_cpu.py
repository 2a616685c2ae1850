"""The compiled implementations: when they serve, views, threads, forks, missing libraries, long rows, derivatives."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import torch.utils.flop_counter
from kernel_cases import KINDS, error, inputs, with_grads

from blockyard.kernels import causal_conv, decayed_scan, force
from blockyard.kernels.dispatch import Op
from blockyard.kernels.toolkit import parallel


def python(code, **env):
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def probe():
    says = lambda word: lambda x: word  # noqa: E731
    return Op(
        "probe", reference=says("reference"), chunked=says("chunked"), cpu=says("cpu"), flops=len, fake=says("fake")
    )


def test_who_is_served():
    op, x = probe(), torch.zeros(3)
    assert [op(x.to(t)) for t in (torch.float32, torch.bfloat16, torch.float64)] == ["cpu"] * 3
    assert op(x.half()) == op(x.to("meta")) == op(torch.nn.Parameter(x)) == "chunked"
    with torch.autocast("cpu", torch.bfloat16):
        assert op(x) == "cpu"
    with torch.utils.flop_counter.FlopCounterMode(display=False), torch.no_grad():
        assert op(x) == "chunked"
    assert torch.compile(lambda x: (op(x), x), backend="eager")(x)[0] == "chunked"
    seen = []
    torch.func.grad(lambda x: seen.append(op(x)) or x.sum())(x)
    with torch.autograd.forward_ad.dual_level():
        seen.append(op(torch.autograd.forward_ad.make_dual(x, x)))
    assert seen == ["chunked"] * 2
    for implementation in ("cpu", "chunked", "reference"):
        with force(implementation):
            assert op(x) == implementation


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_differences(kind):
    op, args, start, reset = inputs(kind, 5, state=True, segments=True)
    leaves = [t.requires_grad_() for t in (*args, start)]
    assert torch.autograd.gradcheck(
        lambda *a: op.cpu(*a[:-1], initial_state=a[-1], reset=reset), leaves, fast_mode=True, atol=1e-7
    )


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "selective"])
def test_a_derivative_of_the_gradient_is_the_chunked_implementations(kind):
    op, args, start, reset = inputs(kind, 9, state=True, segments=True)
    found = []
    for implementation in (op.cpu, op.reference):
        leaves = [t.clone().requires_grad_() for t in (*args, start)]
        y, final = implementation(*leaves[:-1], initial_state=leaves[-1], reset=reset)
        grads = torch.autograd.grad(y.square().sum() + final.sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in grads), leaves))
    for ours, theirs in zip(*found):
        assert error(ours, theirs) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_views_are_read_where_they_lie(kind):
    op, args, start, reset = inputs(kind, 40, state=True, segments=True)
    expected = with_grads(op.cpu, args, start, reset)
    views = (
        lambda t: torch.cat([t, t], -1)[..., : t.shape[-1]],
        lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
        lambda t: torch.stack([t, t], -1)[..., 0],
    )
    for view in views:
        y, final, grads = with_grads(lambda *a, v=view, **how: op.cpu(*map(v, a), **how), args, start, reset)
        assert torch.equal(y, expected[0]) and torch.equal(final, expected[1])
        assert all(error(a, b) < 1e-12 for a, b in zip(grads, expected[2]))


def test_one_fade_for_all_tokens_needs_no_memory():
    _, (q, k, v, _), start, _ = inputs("scalar", 40, state=True)
    fade = torch.full((1, 1, 1, 1), -0.1, dtype=torch.float64, requires_grad=True)
    y, _ = decayed_scan.cpu(q, k, v, fade.expand(2, 40, 4, 1), initial_state=start)
    slow, _ = decayed_scan.reference(q, k, v, fade.expand(2, 40, 4, 1), initial_state=start)
    assert error(y, slow) < 1e-12
    assert error(*(torch.autograd.grad(out.square().sum(), fade)[0] for out in (y, slow))) < 1e-12


def test_a_token_each_is_a_segment():
    reset = torch.ones(2, 4096, dtype=torch.bool)
    for kind in ("gated", "vector", "selective", "diagonal"):
        op, args, start, _ = inputs(kind, 4096, state=True)
        args = [t.float() for t in args]
        y, final, grads = with_grads(op.cpu, args, start.float(), reset)
        alone = [t if kind == "selective" and i == 2 else t.flatten(0, 1).unsqueeze(1) for i, t in enumerate(args)]
        assert error(y.flatten(0, 1), op.reference(*alone)[0].squeeze(1)) < 1e-5
        assert error(final, op.reference(*alone)[1][4095::4096]) < 1e-5
        assert not grads[-1].any() and all(g.isfinite().all() for g in grads)


@pytest.fixture(params=["whose threads they are", "threads of our own"])
def threads(monkeypatch, request):
    monkeypatch.setattr(parallel, "LITTLE", 0)
    if request.param == "threads of our own":
        monkeypatch.setattr(parallel, "_theirs", None)
    yield torch.set_num_threads
    torch.set_num_threads(1)


def test_what_goes_wrong_in_a_thread_is_told(threads):
    def work(count: int) -> None:
        assert count == 2
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        parallel.run_threads(work, 2)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_an_interruption_waits_for_all_threads(threads, monkeypatch):
    came, start = [], parallel.run_threads

    def interrupted(work, count):
        signal.raise_signal(signal.SIGINT)  # before any of the threads has begun
        start(work, count)

    monkeypatch.setattr(parallel, "run_threads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parallel.spmd(lambda arrived, thread, count: came.append((thread, count)), 2, np.zeros(1, np.int64))
    assert sorted(came) == [(0, 2), (1, 2)]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_nothing(kind, threads):
    op, args, start, reset = inputs(kind, 67, state=True, segments=True)
    one = with_grads(op.cpu, args, start, reset)
    threads(3)
    many = with_grads(op.cpu, args, start, reset)
    assert torch.equal(one[0], many[0]) and torch.equal(one[1], many[1])
    assert all(error(a, b) < 1e-12 for a, b in zip(one[2], many[2]))


def test_calls_from_several_threads(threads):
    threads(2)
    op, args, start, reset = inputs("gated", 67, state=True, segments=True)
    expected, found = with_grads(op.cpu, args, start, reset)[0], []
    callers = [
        threading.Thread(
            target=lambda: found.extend(op.cpu(*args, initial_state=start, reset=reset)[0] for _ in range(20))
        )
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 80 and all(torch.equal(y, expected) for y in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_fork_has_threads_of_its_own():
    python(
        "import os, torch\n"
        "from blockyard.kernels import diagonal_scan\n"
        "from blockyard.kernels.toolkit import parallel\n"
        "parallel.LITTLE = 0\n"
        "torch.set_num_threads(2)\n"
        "x = torch.ones(4, 9, 8)\n"
        "y = diagonal_scan(x, -x)[0]\n"
        "if (child := os.fork()) == 0:\n"
        "    os._exit(0 if torch.equal(diagonal_scan(x, -x)[0], y) else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0"
    )


def test_numba_is_imported_by_the_first_call_only():
    python(
        "import sys, torch, blockyard, blockyard.kernels as k\n"
        "assert 'numba' not in sys.modules\n"
        "x = torch.ones(1, 3, 2)\n"
        "k.diagonal_scan(x, -x)\n"
        "assert 'numba' in sys.modules"
    )


def test_without_numba_the_chunked_implementation_serves_and_says_so_once():
    done = python(
        "import sys, torch\n"
        "sys.modules['numba'] = None\n"
        "import blockyard.kernels as k\n"
        "x = torch.ones(1, 3, 2)\n"
        "for _ in range(3): k.diagonal_scan(x, -x)"
    )
    assert done.stderr.count("numba cannot be imported") == 1


def test_nothing_can_be_kept_on_disk(tmp_path):
    python(
        "import torch\n"
        "from numba.core import caching\n"
        "caching._CacheLocator.ensure_cache_path = lambda self: (_ for _ in ()).throw(OSError('read-only'))\n"
        "from blockyard.kernels import diagonal_scan\n"
        "x = torch.ones(1, 3, 2)\n"
        "assert diagonal_scan(x, -x)[0].isfinite().all()"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_very_long_rows(kind):
    op, args, start, _ = inputs(kind, 65536, state=True)
    with torch.no_grad():
        exact, _ = op.cpu(*args, initial_state=start)
        y, _ = op.cpu(*(t.float() for t in args), initial_state=start.float())
        last = [t if kind == "selective" and i == 2 else t[:, 32768:] for i, t in enumerate(args)]
        first = [t if kind == "selective" and i == 2 else t[:, :32768] for i, t in enumerate(args)]
        middle = op.cpu(*first, initial_state=start)[1]
        assert error(op.chunked(*last, initial_state=middle)[0], exact[:, 32768:]) < 1e-9
    assert error(y, exact) < 1e-4


def test_the_filter_with_a_tail_and_its_gradient():
    x, weight = torch.randn(2, 300, 5), torch.randn(5, 4)
    tail = torch.randn(2, 3, 5, requires_grad=True)
    found = []
    for implementation in (causal_conv.cpu, causal_conv.reference):
        y, last = implementation(x, weight, tail=tail)
        found.append((y, last, *torch.autograd.grad(y.square().sum() + last.sum(), tail)))
    assert all(error(a, b) < 1e-5 for a, b in zip(*found))
