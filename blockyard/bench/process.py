"""Contestants in processes of their own, called in turn: memory, threads and failures of one do not touch another.

    with contestants({"ours": ("train:trainee", {...}), ...}, tell=print) as stand:
        stand["ours"].call("step")

A maker is named "file:function" of this room; what it returns has `facts` and methods that give JSON values. In the
child an order is {"make", "settings"}, then {"do", "with"}.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import torch

from blockyard.bench.measure import Tell, cores
from blockyard.core import child
from blockyard.core.errors import WorkFailed
from blockyard.train.allocator import keep_memory

Maker = tuple[str, dict[str, Any]]


def make(maker: str, settings: dict[str, Any]) -> Any:
    file, _, function = maker.partition(":")
    return getattr(import_module(f"blockyard.bench.{file}"), function)(**settings)


class Here:
    """A contestant in this process: what tests use."""

    def __init__(self, maker: Maker) -> None:
        self.inner = make(*maker)
        self.facts: dict[str, Any] = self.inner.facts

    def call(self, do: str, **given: Any) -> Any:
        return getattr(self.inner, do)(**given)


class Apart:
    """A contestant in a child process; `keep` gives it the allocator that training uses."""

    def __init__(self, name: str, maker: Maker, keep: bool) -> None:
        self.name, self.maker, self.facts = name, maker, dict[str, Any]()
        words = (str(cores()), str(int(keep)))
        self.process = child.start("blockyard.bench.process", *words, threads=cores(), quiet=True, HF_HUB_OFFLINE="1")

    def start(self) -> None:
        self.facts = self._ask({"make": self.maker[0], "settings": self.maker[1]})

    def call(self, do: str, **given: Any) -> Any:
        return self._ask({"do": do, "with": given})

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise WorkFailed(f"{self.name} died (exit {self.process.wait()}); is there enough memory?")
        answer = json.loads(line)
        if error := child.failure(answer):
            raise WorkFailed(f"{self.name}: {error}")
        return answer["done"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def contestants(
    makers: Mapping[str, Maker], *, keep: bool | Mapping[str, bool] = False, apart: bool = True, tell: Tell
) -> Iterator[dict[str, Any]]:
    """All contestants, made and warm. A peer that cannot start is left out and named; one of ours that cannot fails."""
    if not apart:
        yield {name: Here(maker) for name, maker in makers.items()}
        return
    with ExitStack() as stack:
        stand: dict[str, Apart] = {}
        for name, maker in makers.items():
            stand[name] = Apart(name, maker, keep if isinstance(keep, bool) else keep[name])
            stack.callback(stand[name].close)
        for name in list(stand):
            began = time.monotonic()
            try:
                stand[name].start()
            except WorkFailed as error:
                # without a compiler at hand nothing compiles, ours neither
                if name == "machine" or (name.startswith("blockyard/") and not name.endswith("+compile")):
                    raise
                tell(f"left out: {str(error).strip().splitlines()[-1]} ({name})")
                del stand[name]
            else:
                tell(f"{name} is ready ({time.monotonic() - began:.0f} s)")
        yield dict(stand)


def main() -> None:
    """Make one contestant, then do as told until the input closes."""
    torch.set_num_threads(int(sys.argv[1]))
    if sys.argv[2] == "1":
        keep_memory()
    contestant: Any = None

    def handle(order: dict[str, Any], tell: child.Tell) -> Any:
        nonlocal contestant
        if "make" in order:
            contestant = make(order["make"], order["settings"])
            return contestant.facts
        return getattr(contestant, order["do"])(**order["with"])

    child.serve(handle)


if __name__ == "__main__":
    main()
