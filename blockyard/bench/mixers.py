"""One mixer layer at a time, projections included: forward, forward and backward, one decoded token, peak memory.

Every contestant has a process of its own. Equal sizes within a job (`blockyard/mamba2` and `transformers/mamba2` have
the same heads, state and parameters), not across jobs: it is the price of a layer, not a contest of ideas. What a
model makes once for all layers (positions, tables, masks) is made before the clock starts. Where no precision is
asked for, all run in float32 and ours are trained in bfloat16 too, as contestants named `blockyard/gla+bfloat16`.
All with the allocator that training uses: with the system's, at 16k tokens a layer takes 1.5 to 3 times as long.
What transformers has runs with the system's too, as it comes, under names such as `transformers/mamba+system`.

fwd_ms, fwd_bwd_ms   one row block (batch, T, dim), gradients of the input and of all parameters, right after another
                     one that does not count: a training run is never cold (but not where one takes a second)
decode_ms            one token with the state of a prompt of T tokens
peak_bytes           growth of the process's resident memory during forward and backward, from its high-water mark
                     (reset by the kernel before the step, freed memory given back first); the device's own counter
                     on a GPU. It counts what a user needs, transient buffers and gradients included.
fwd_bwd_slope        of the logarithm of time against that of T, by least squares over all lengths (three at least);
peak_slope           the same of memory
fraction_of_floor    floor / fwd_bwd_ms; the operations are those of the layer's equations in closed form, the same
                     for a peer as for ours, whatever the algorithm spends
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from blockyard import kernels
from blockyard.bench.measure import Rates, Row, Rows, Seconds, Tell, aloud, interleave, require, timed
from blockyard.bench.peers import FURTHEST, LAYERS, Layer
from blockyard.bench.process import Maker, contestants
from blockyard.core.batch import Batch
from blockyard.core.call import Call
from blockyard.core.errors import unknown
from blockyard.core.part import Part
from blockyard.core.state import State
from blockyard.model.model import make
from blockyard.train.precision import PRECISIONS, arithmetic

OURS = ("attention", "gla", "retnet", "hgrn", "hgrn2", "deltanet", "gated_deltanet", "mamba", "mamba2")
PLAIN = "torch/sdpa"  # whom every layer of ours is held against
JOBS = {  # and who does the same job
    "gla": ("fla/gla",),
    "retnet": ("fla/retnet",),
    "deltanet": ("fla/deltanet",),
    "gated_deltanet": ("transformers/gated_deltanet", "fla/gated_deltanet"),
    "mamba": ("transformers/mamba", "transformers/mamba+mambapy"),
    "mamba2": ("transformers/mamba2", "transformers/mamba2+chunk64"),
}
PASSES = ("fwd", "fwd_bwd", "decode")
HALF = "+bfloat16"  # a layer of ours in half precision, beside itself
SYSTEM = "+system"  # a peer with the system's allocator, beside itself
DECODED = 8
PEAKS = 3  # steps whose memory is looked at: what the heap has to spare differs from one to the next
SLOW = 1.0  # seconds of a pass that is not done twice


def settings(name: str, dim: int) -> dict[str, Any]:
    """Where a default does not give what the peer of the job has."""
    return {"key_dim": dim // 4, "value_dim": dim // 4} if name == "gated_deltanet" else {}


def ours(name: str, dim: int, device: str = "cpu") -> Layer:
    """A part of ours under the calls that a model would make for it."""
    module = make(f"mixer:{name}", dim=dim, **settings(name, dim)).to(device)
    made: dict[int, Call] = {}

    def place(x: Tensor, state: State | None) -> tuple[Call, Any]:
        call, state = Batch(torch.zeros(x.shape[:2], dtype=torch.long, device=device)).call(state, causal=True)
        for part in module.modules():
            if isinstance(part, Part):
                part.prepare(call)
        return call, state

    def forward(x: Tensor) -> Tensor:
        if x.shape[1] not in made:
            made[x.shape[1]] = place(x, None)[0]
        return module(x, made[x.shape[1]])[0]

    def begin(x: Tensor) -> Any:
        call, state = place(x, State.empty(x.shape[0], device))
        leaves = module(x, call, {})[1]
        return place(x[:, :1], state)[0], leaves

    def token(x: Tensor, state: Any) -> Any:
        module(x, *state)
        return state  # nothing was written into it: the same token again

    return Layer(module, forward, begin, token)


class Contestant:
    """A layer with its inputs; its methods give seconds, and bytes, and are warm after their first use at a length."""

    def __init__(self, name: str, dim: int, batch: int, device: str, precision: str) -> None:
        torch.manual_seed(0)
        library, _, mixer = name.partition("/")
        self.layer = ours(mixer, dim, device) if library == "blockyard" else LAYERS[name](dim)
        self.layer.module.to(device).train()
        self.shape, self.device, self.precision = (batch, dim), device, precision
        self.facts = {
            "params": sum(p.numel() for p in self.layer.module.parameters()),
            "decodes": self.layer.token is not None,
        }
        self.states: dict[int, Any] = {}
        self.last: dict[str, float] = {}
        self.fwd_bwd(64)

    def _input(self, length: int, grad: bool = False) -> Tensor:
        return torch.randn(self.shape[0], length, self.shape[1], device=self.device, requires_grad=grad)

    def _both(self, x: Tensor) -> None:
        with arithmetic(self.precision, self.device):
            y = self.layer.forward(x)
        y.sum().backward()

    def _second(self, do: str, work: Callable[[], object]) -> float:
        if self.last.get(do, 0.0) < SLOW:
            work()
        self.last[do] = timed(work, self.device)
        return self.last[do]

    def fwd_bwd(self, length: int) -> float:
        x = self._input(length, grad=True)

        def work() -> None:
            x.grad = None
            self.layer.module.zero_grad(set_to_none=True)
            self._both(x)

        return self._second("fwd_bwd", work)

    @torch.no_grad()
    def fwd(self, length: int) -> float:
        x = self._input(length)
        with arithmetic(self.precision, self.device):
            return self._second("fwd", lambda: self.layer.forward(x))

    @torch.no_grad()
    def decode(self, length: int) -> float:
        assert self.layer.begin is not None
        with arithmetic(self.precision, self.device):
            if length not in self.states:
                self.states = {length: self.layer.begin(self._input(length))}  # those of other lengths may go
            x = self._input(1)
            return median(timed(lambda: self._decode(x, length), self.device) for _ in range(DECODED))

    def _decode(self, x: Tensor, length: int) -> None:
        assert self.layer.token is not None
        self.states[length] = self.layer.token(x, self.states[length])

    def peak(self, length: int) -> float | None:
        """Of the median step; None where the system does not tell."""
        self.states = {}
        x = self._input(length, grad=True)
        grown = [self._peak(x) for _ in range(PEAKS)]
        _give_back()  # the next length is measured with all contestants side by side
        told = [growth for growth in grown if growth is not None]
        return median(told) if told else None

    def _peak(self, x: Tensor) -> float | None:
        x.grad = None
        self.layer.module.zero_grad(set_to_none=True)
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self._both(x)
            return torch.cuda.max_memory_allocated() - before
        if sys.platform != "linux" or self.device != "cpu":
            return None
        _give_back()
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        except OSError:
            return None
        before = _status("VmRSS")
        self._both(x)
        return _status("VmHWM") - before


def _give_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) * 1024


def operations(name: str, dim: int, length: int) -> int:
    """Forward operations of one row through a layer of ours, in closed form."""
    with torch.device("meta"):
        part = make(f"mixer:{name}", dim=dim, **settings(name, dim))
        x = torch.empty(1, length, dim)
        with FlopCounterMode(display=False) as products, kernels.count_flops() as tally, torch.no_grad():
            part(x)
    return products.get_total_flops() + sum(tally.values())


def bench(
    *, length: Sequence[int] = (512, 2048), batch: int = 2, dim: int = 256, device: str = "cpu",
    precision: str | None = None, rounds: int = 7, quick: bool = False, apart: bool = True, tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """All rows, length by length. `quick` takes the first length only and leaves out the peer that is a loop."""
    if precision is not None and precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    halved, precision = precision is None, precision or "float32"
    require("transformers")
    rows = Rows("mixers")
    same = {"batch": batch, "dim": dim, "precision": precision}
    rows.load(same, tell)
    given = {"dim": dim, "batch": batch, "device": device, "precision": precision}
    names = [*(f"blockyard/{name}" for name in OURS), *LAYERS]
    names = [name for name in names if not quick or FURTHEST.get(name, 2048) >= 2048]
    makers: dict[str, Maker] = {name: ("mixers:Contestant", {"name": name, **given}) for name in names}
    for name in names if apart else ():
        if name.startswith("transformers/"):
            makers[name + SYSTEM] = makers[name]
    if halved:
        for name in OURS:
            makers[f"blockyard/{name}{HALF}"] = (
                "mixers:Contestant", {**given, "name": f"blockyard/{name}", "precision": "bfloat16"},
            )  # fmt: skip
    makers["machine"] = "measure:machine", {"device": device, "small": not apart}
    keep = {name: not name.endswith(SYSTEM) for name in makers}
    with contestants(makers, keep=keep, apart=apart, tell=tell) as stand:
        for T in length[:1] if quick else length:
            _at_length(rows, stand, T, same, rounds, tell)
    _slopes(rows, same)
    return rows.rows


def _at_length(rows: Rows, stand: dict[str, Any], T: int, same: dict[str, Any], rounds: int, tell: Tell) -> None:
    shape = {"T": T, **same}
    names = [name for name in stand if name != "machine" and FURTHEST.get(name.removesuffix(SYSTEM), T) >= T]
    precisions = {name: "bfloat16" if name.endswith(HALF) else same["precision"] for name in names}
    rates = Rates(stand["machine"], precisions.values())
    measured: dict[str, Seconds] = {}
    for do in PASSES:
        able = [name for name in names if do == "fwd_bwd" or not name.endswith(HALF)]
        able = [name for name in able if do != "decode" or stand[name].facts["decodes"]]
        turns: dict[str, Callable[[], float]] = {name: partial(stand[name].call, do, length=T) for name in able}
        if do == "fwd_bwd":
            turns["machine"] = rates
        measured[f"{do}_ms"] = interleave(turns, rounds, tell=tell, what=f"mixers T={T} {do}")
    rows.rates(rates, shape)
    for name in names:
        params = stand[name].facts["params"]
        rows.add(name, "params", params, "", shape)
        for metric, seconds in measured.items():
            if name in seconds:
                rows.add(name, metric, 1e3 * median(seconds[name]), "ms", shape)
        peak = stand[name].call("peak", length=T)
        if peak is not None:
            rows.add(name, "peak_bytes", peak, "B", shape)
        part = name.partition("/")[2].partition("+")[0]
        work = 3 * same["batch"] * operations("attention" if name == PLAIN else part, same["dim"], T)
        least = rates.floor(work, 2 * 4 * params, precisions[name])  # weights read, gradients written
        rows.add(name, "fraction_of_floor", least / median(measured["fwd_bwd_ms"][name]), "", shape)
    for name in OURS:
        peers = JOBS.get(name, ())
        for peer in (*peers, *(peer + SYSTEM for peer in peers), PLAIN):
            for metric, seconds in measured.items():
                rows.ratio(f"blockyard/{name}", peer, metric, seconds, shape)
        rows.ratio(f"blockyard/{name}{HALF}", f"blockyard/{name}", "fwd_bwd_ms", measured["fwd_bwd_ms"], shape)


def _slopes(rows: Rows, same: dict[str, Any]) -> None:
    """How time and memory grow, where there are three lengths at least."""
    grown: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows.rows:
        if row.metric in ("fwd_bwd_ms", "peak_bytes") and row.shape.keys() == {"T", *same}:
            grown.setdefault((row.contestant, row.metric), {})[row.shape["T"]] = row.value
    for (name, metric), found in grown.items():
        if len(found) >= 3:
            slope = np.polyfit(np.log(list(found)), np.log(list(found.values())), 1)[0]
            rows.add(name, f"{metric.rpartition('_')[0]}_slope", slope, "", {"T": "all", **same})
