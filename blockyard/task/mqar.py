"""Multi-query associative recall: pairs of keys and values, then the keys again, whose values are asked for.

    k1 v1 k2 v2 ... kP vP  .  .  k2  .  .  .  k1  .  ...            asked at every later key: its value

Keys are different, values may repeat. Each key is asked once, at an even distance behind the pairs; short distances
are likelier, by a power law with exponent `power` - 1 (1: even). `rewrites` binds that many keys a second time, after
the pairs, to another value: the last one counts. Other places hold a blank or, with `noise`, any id but the blank.

Shapes   ids: 0 blank, 1..keys the keys, then the values    T = length >= 4 pairs + 2 rewrites    chance 1/values
Source   arXiv 2312.04927    Family  recall
Differs  values are drawn with replacement; blanks between the queries by default (paper: noise); small alphabets
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count, Natural
from blockyard.task._base import Draw, Examples, Predictor, Task, blank, fits, latest, look_up


class MQAR(Task):
    variants = (
        {},
        dict(pairs=8, length=64, keys=64, values=64, power=1.0),
        dict(rewrites=3, length=40, noise=True),
        dict(pairs=1, length=4, keys=1),
    )
    first = "03bb4f08e876"

    def __init__(
        self, *, pairs: Annotated[Count, "pairs to remember"] = 4, length: Annotated[Count, "tokens of a row"] = 32,
        keys: Annotated[Count, "different keys"] = 16, values: Annotated[Count, "different values"] = 16,
        power: Annotated[float, "the power law of distances has this exponent, less one"] = 0.01,
        rewrites: Annotated[Natural, "keys that are bound a second time"] = 0,
        noise: Annotated[bool, "whether other places hold any token, not a blank"] = False,
    ) -> None:  # fmt: skip
        need = 4 * pairs + 2 * rewrites
        fits(power > 0, f"mqar: power={power} must be positive")
        fits(rewrites <= pairs <= keys, f"mqar: needs rewrites <= pairs <= keys, not {rewrites} <= {pairs} <= {keys}")
        fits(values > 1 or not rewrites, "mqar: rewrites need 2 values or more")
        fits(length >= need, f"mqar: pairs={pairs} with rewrites={rewrites} need length {need} or more, not {length}")
        self.pairs, self.length, self.keys, self.values = pairs, length, keys, values
        self.power, self.rewrites, self.noise = power, rewrites, noise
        self.bound = 2 * (pairs + rewrites)
        self.vocab, self.answers = 1 + keys + values, range(1 + keys, 1 + keys + values)

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        keys, values = 1 + draw.distinct(self.pairs, self.keys), draw.below(self.values, self.pairs)
        again = draw.order(self.pairs)[:, : self.rewrites]
        fresh = np.take_along_axis(values, again, 1)
        fresh = (fresh + 1 + draw.below(max(1, self.values - 1), self.rewrites)) % self.values
        start = self.answers.start
        tokens = np.zeros((n, self.length), np.int64)
        tokens[:, : self.bound : 2] = np.concatenate([keys, np.take_along_axis(keys, again, 1)], 1)
        tokens[:, 1 : self.bound : 2] = start + np.concatenate([values, fresh], 1)
        np.put_along_axis(values, again, fresh, 1)
        space = (self.length - self.bound) // 2
        # The smallest of exponential times with rates p are a sample without replacement with weights p.
        weights = np.arange(1, space + 1) ** (self.power - 1)
        gaps = np.argsort(-np.log(draw.uniform(space)) / weights, axis=1, kind="stable")[:, : self.pairs]
        place = self.bound + 2 * gaps
        np.put_along_axis(tokens, place, keys, 1)
        targets = blank(tokens)
        np.put_along_axis(targets, place, start + values, 1)
        if self.noise:
            tokens = np.where(tokens == 0, 1 + draw.below(self.vocab - 1, self.length), tokens)
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        return look_up(tokens, tokens[:, : self.bound : 2], tokens[:, 1 : self.bound : 2])

    def baselines(self) -> dict[str, Predictor]:
        return {"recent": lambda tokens: latest(tokens, tokens >= self.answers.start)}
