"""The numbers that can be asked for, each with its range: for the command line and for Python alike.

    LENGTH("512", "--length")   512         LENGTH(0, "--length")   UsageError: --length 0 must be a whole number ...

A number is given as text or as a number. Everything else, infinite and not-a-number included, is refused in a line.
"""

import math
import re
from itertools import pairwise
from typing import Any, NamedTuple

from blockyard.core.errors import UsageError, brief

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12, "p": 10**15}


class Whole(NamedTuple):
    """A whole number from `least` to `most`, both included."""

    least: int
    most: int

    def __call__(self, value: Any, name: str) -> int:
        text = str(value).strip()
        short = len(text) < 30 and re.fullmatch(r"[+-]?[0-9]+", text) and not isinstance(value, bool)
        number = int(text) if short else None
        if number is None or not self.least <= number <= self.most:
            raise _refused(name, value, f"a whole number, at least {self.least} and at most {self.most:,}")
        return number


class Real(NamedTuple):
    """A finite number from `least` to `most`; `least` itself only with `closed`."""

    least: float
    most: float
    closed: bool = True

    def __call__(self, value: Any, name: str) -> float:
        text = str(value).strip().lower()
        plain = re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", text) and not isinstance(value, bool)
        try:
            number = float(text) if plain else math.nan
        except ValueError:
            number = math.nan
        inside = self.least <= number <= self.most and (self.closed or number > self.least)
        if not inside:  # not a number is inside nothing
            low = f"{'at least' if self.closed else 'above'} {self.least:g}"
            raise _refused(name, value, f"a number, {low} and at most {self.most:g}")
        return number


class Amount(NamedTuple):
    """A positive amount up to `most`: `200k`, `1.5M`, `2e6`, or a number."""

    most: float

    def __call__(self, value: Any, name: str) -> float:
        found = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmgbtp]?)b?", str(value).strip().lower())
        try:
            number = float(found[1]) * UNITS[found[2]] if found else 0.0
        except ValueError:
            number = 0.0
        if number <= 0:
            raise UsageError(f"{name} {brief(repr(value))} is not a positive amount; for example 200k, 1M or 2.5e6")
        if number > self.most:
            raise _refused(name, value, f"an amount of at most {self.most:g}")
        return number


class Amounts(NamedTuple):
    """One amount, or several in rising order: `100k,300k,1M`, or a sequence; of several each is at least `least`."""

    each: Amount
    least: float

    def __call__(self, value: Any, name: str) -> float | tuple[float, ...]:
        words = str(value).split(",") if not isinstance(value, list | tuple) else value
        if len(words) == 1:
            return self.each(words[0], name)
        found = tuple(self.each(word, name) for word in words)
        if min(found, default=0.0) < self.least or any(a >= b for a, b in pairwise(found)):
            raise _refused(name, value, f"an amount, or several in rising order, each at least {self.least:g}")
        return found


class Duration(NamedTuple):
    """Seconds, from `least` to `most`, said with their unit: `8h`, `480m`, `90s`."""

    least: float
    most: float

    def __call__(self, value: Any, name: str) -> float:
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([hms])", str(value).strip().lower())
        seconds = float(found[1]) * {"h": 3600, "m": 60, "s": 1}[found[2]] if found else 0.0
        if not self.least <= seconds <= self.most:
            low, high = f"{self.least:g}s", f"{self.most / 3600:g}h"
            raise _refused(name, value, f"a time with its unit, from {low} to {high}; for example 8h, 480m or 90s")
        return seconds


class Share(NamedTuple):
    """A share above 0 up to `most`, as `1%` or `0.01`."""

    most: float

    def __call__(self, value: Any, name: str) -> float:
        text = str(value).strip()
        if not text.endswith("%"):
            return Real(0, self.most, closed=False)(value, name)
        return Real(0, 100 * self.most, closed=False)(text[:-1], name) / 100


def _refused(name: str, value: Any, what: str) -> UsageError:
    return UsageError(f"{name} {brief(repr(value))} must be {what}")


LENGTH = Whole(2, 1 << 24)  # tokens a row; the last one is only a target
EVAL_LENGTH = Whole(1, 1 << 24)
LIMIT = Whole(1, 1 << 30)  # documents of a task
SHOTS = Whole(0, 1000)  # examples before a question
BATCH = Whole(1, 1 << 20)
ROUNDS = Whole(1, 10_000)
SEEDS = Whole(1, 99)  # the hundredth seed is the one that tunes
WITHIN = Duration(10.0, 1e4 * 3600)
PARAMS = Amount(1e13)
MEMORY = Amount(1e15)
TOKENS = Amount(1e15)
SIZES = Amounts(PARAMS, 2000)  # parameters of one comparison, or of several
SEVERAL_TOKENS = Amounts(TOKENS, 1)
FLOPS = Amount(1e27)
MINUTES = Real(0, 60 * 24 * 366, closed=False)
MARGIN = Real(0, 1)
EFFECT = Share(1)
RATE = Real(0, 100, closed=False)  # of learning, at its peak
TRY_SEEDS = Whole(4, 99)  # of a try of a referee, at most
ALPHA = Real(1e-6, 0.5)
WRITTEN = Whole(0, 10**9)  # tokens of a text
TEMPERATURE = Real(0, 1e6)
TOP_K = Whole(1, 1 << 31)
SHARE = Real(0, 1)
REPETITION = Real(0, 1e6, closed=False)
BEAMS = Whole(1, 1024)
NUM_SPECULATIVE = Whole(0, 1024)
SEED = Whole(0, 2**63 - 1)
FORECAST = Whole(1, 1 << 20)  # steps ahead
BITS = Whole(1, 32)
PORT = Whole(0, 65535)
ROWS = Whole(1, 1024)  # requests that run at once
WAITING = Whole(0, 1 << 20)
ANSWERED = Whole(2, 1 << 30)  # tokens of a prompt and its answer
GROUP = Whole(1, 1 << 20)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
