"""What all benches share: turns, paired ratios, what the machine could do, rows and their table.

Contestants take turns, in an order that rotates from round to round, so that drift of the machine meets all alike;
figures are medians, and two contestants are compared round by round.

A floor is the time that the counted work must take on this machine: the larger of its operations over the measured
rate of a large matrix product, and its bytes over the measured bandwidth of a large copy. The machine is measured
as one more contestant, in the same rounds.
"""

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from blockyard.core.document import Document, Json
from blockyard.core.errors import UsageError
from blockyard.core.numbers import clock
from blockyard.kernels import linear

Tell = Callable[[str], None]
Seconds = dict[str, list[float]]
Shape = dict[str, Any]  # what a figure holds for: lengths, rows, sizes, precision


@dataclass(frozen=True)
class Row(Document):
    """A figure of a contestant; of a comparison also against whom, of which metric, and its interval."""

    bench: str
    contestant: str
    metric: str
    value: float
    unit: str
    shape: Shape
    against: str | None = None
    of: str | None = None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> Json:
        """Without what a plain figure does not have."""
        return {name: value for name, value in super().to_json().items() if value is not None}


def aloud(line: str) -> None:
    """Progress for a person: on standard error."""
    print(line, file=sys.stderr, flush=True)


def require(*modules: str) -> None:
    """Refuse a bench whose peers are not installed; nothing is imported yet."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"this bench needs {' and '.join(missing)}; install what it compares with: pip install 'blockyard[oracle]'"
        )


def cores() -> int:
    """The threads of every contestant: OMP_NUM_THREADS, or as many as there are cores for this process."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def timed(work: Callable[[], object], device: str = "cpu", repeats: int = 1) -> float:
    """Seconds that the work takes, the device's own queue included; the mean of a few repeats."""
    began = _now(device)
    for _ in range(repeats):
        work()
    return (_now(device) - began) / repeats


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()
    return time.perf_counter()


def interleave(
    turns: Mapping[str, Callable[[], float]], rounds: int, *, warm: int = 1, tell: Tell | None = None, what: str = ""
) -> Seconds:
    """Seconds of every contestant in every round, all in turn; the first `warm` rounds are thrown away."""
    names, found = list(turns), {name: [] for name in turns}
    spoke = began = time.monotonic()
    for turn in range(-warm, rounds):
        for i in range(len(names)):
            name = names[(i + turn) % len(names)]
            seconds = turns[name]()
            if turn >= 0:
                found[name].append(seconds)
        now = time.monotonic()
        if tell is not None and (now - spoke > 10 or turn == rounds - 1):
            left = (now - began) / (turn + warm + 1) * (rounds - 1 - turn)
            tell(f"{what}: round {max(0, turn + 1)} of {rounds}, about {clock(left)} left")
            spoke = now
    return found


def paired(ours: Sequence[float], theirs: Sequence[float], draws: int = 4000) -> tuple[float, float, float]:
    """The median over rounds of theirs / ours, and its 90% bootstrap interval; rounds are drawn whole."""
    ratios = np.asarray(theirs) / np.asarray(ours)
    picks = np.random.default_rng(0).integers(len(ratios), size=(draws, len(ratios)))
    low, high = np.quantile(np.median(ratios[picks], axis=1), (0.05, 0.95))
    return float(np.median(ratios)), float(low), float(high)


class Machine:
    """A contestant of another kind: how fast this device multiplies large matrices and copies large buffers."""

    facts: dict[str, Any] = {}

    def __init__(self, device: str, size: int, megabytes: int) -> None:
        self.device, self.size = device, size
        self.source = torch.zeros(megabytes << 18, device=device)  # float32
        self.target = torch.zeros_like(self.source)

    def matrix(self, precision: str) -> float:
        """Operations a second of a square matrix product, by the faster of the libraries at hand."""
        a = torch.randn(self.size, self.size, device=self.device).to(getattr(torch, precision))
        out = linear(a, a)
        ways = (lambda: torch.mm(a, a, out=out)), (lambda: linear(a, a))
        return 2 * self.size**3 / min(timed(way, self.device) for way in ways)

    def copy(self) -> float:
        """Bytes a second that a copy reads and writes."""
        return 2 * self.source.nbytes / timed(lambda: self.target.copy_(self.source), self.device)


def machine(device: str, small: bool = False) -> Machine:
    """The machine as a contestant; `small` where only the plumbing is tested."""
    return Machine(device, 64, 1) if small else Machine(device, 2048, 256)


class Rates:
    """The turns of the machine: what it did in every round; the first one warms it up."""

    def __init__(self, machine: Any, precisions: Iterable[str]) -> None:
        self.machine, self.copies = machine, list[float]()
        self.products: Seconds = {name: [] for name in sorted(set(precisions))}

    def __call__(self) -> float:
        for precision, found in self.products.items():
            found.append(self.machine.call("matrix", precision=precision))
        self.copies.append(self.machine.call("copy"))
        return 0.0

    def floor(self, operations: float, moved: float, precision: str) -> float:
        """Seconds below which so many operations and bytes cannot go here."""
        return max(operations / median(self.products[precision][1:]), moved / median(self.copies[1:]))


def used_by_others(seconds: float = 0.5) -> float | None:
    """Cores kept busy by other processes while this one sleeps; None where the system does not tell."""
    table = Path("/proc/stat")
    if not table.exists():
        return None

    def busy() -> int:
        user, nice, system, _idle, _wait, *rest = map(int, table.read_text().splitlines()[0].split()[1:9])
        return user + nice + system + sum(rest)

    before, began = busy(), time.perf_counter()
    time.sleep(seconds)
    return (busy() - before) / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - began)


class Rows:
    """The rows of one bench, as they come together."""

    def __init__(self, bench: str) -> None:
        self.bench, self.rows = bench, list[Row]()

    def add(self, contestant: str, metric: str, value: float, unit: str, shape: Shape, **compared: Any) -> None:
        """A figure; `compared` are against, of, low and high."""
        self.rows.append(Row(self.bench, contestant, metric, float(value), unit, dict(shape), **compared))

    def ratio(self, ours: str, theirs: str, of: str, seconds: Seconds, shape: Shape) -> None:
        """How much faster ours is, round by round; nothing where one of the two is missing."""
        if ours in seconds and theirs in seconds:
            value, low, high = paired(seconds[ours], seconds[theirs])
            self.add(ours, "ratio", value, "x", shape, against=theirs, of=of, low=low, high=high)

    def overhead(self, ours: str, theirs: str, of: str, seconds: Seconds, shape: Shape) -> None:
        """How much longer ours takes, in percent."""
        value, low, high = (100 * (x - 1) for x in paired(seconds[theirs], seconds[ours]))
        self.add(ours, "overhead", value, "%", shape, against=theirs, of=of, low=low, high=high)

    def rates(self, rates: Rates, shape: Shape) -> None:
        """What the floors stand on."""
        for precision, found in rates.products.items():
            self.add("machine", f"{precision}_flops_per_s", median(found[1:]), "FLOP/s", shape)
        self.add("machine", "copy_bytes_per_s", median(rates.copies[1:]), "B/s", shape)

    def load(self, shape: Shape, tell: Tell) -> None:
        """What others did when the bench began: two threads on two cores are slowed several times by a busy third."""
        others = used_by_others()
        if others is not None:
            self.add("machine", "used_by_others", others, "cores", shape)
            if others > 0.2:
                tell(f"other processes keep {others:.1f} cores busy: these figures are noisy")


def describe(rows: Sequence[Row]) -> str:
    """The rows as text: one table a shape, contestants down and metrics across, then the comparisons."""
    shapes: dict[str, list[Row]] = {}
    for row in rows:
        shapes.setdefault(" ".join(f"{key}={value}" for key, value in row.shape.items()), []).append(row)
    blocks = []
    for shape, held in shapes.items():
        plain = [row for row in held if row.against is None and row.contestant != "machine"]
        about = [row for row in held if row.contestant == "machine"]
        metrics = list(dict.fromkeys((row.metric, row.unit) for row in plain))
        cells = {(row.contestant, row.metric): _short(row.value) for row in plain}
        names = list(dict.fromkeys(row.contestant for row in plain))
        table = [["", *(f"{metric} [{unit}]" if unit else metric for metric, unit in metrics)]]
        table += [[name, *(cells.get((name, metric), "") for metric, _ in metrics)] for name in names]
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = [_line(cells, widths) for cells in table] if names else []
        known = ", ".join(f"{row.metric} {_scaled(row.value, row.unit)}" for row in about)
        told = [f"machine: {known}"] if known else []
        told += [_sentence(row) for row in held if row.against is not None]
        blocks.append("\n".join([f"{held[0].bench}  {shape}", *lines, *told]))
    return "\n\n".join(blocks)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (f"{cell:{'>' if i else '<'}{width}}" for i, (cell, width) in enumerate(zip(cells, widths)))
    return "  ".join([first, *rest]).rstrip()


def _sentence(row: Row) -> str:
    what, low, high = f"{row.against} in {row.of}", row.low, row.high
    if row.metric == "ratio":
        return f"{row.contestant} is {row.value:.2f} times as fast as {what} ({low:.2f} to {high:.2f})"
    return f"{row.contestant} needs {row.value:+.2f}% time over {what} ({low:+.2f} to {high:+.2f})"


def _scaled(value: float, unit: str) -> str:
    return f"{value / 1e9:,.1f} G{unit}" if value >= 1e9 else f"{_short(value)} {unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
