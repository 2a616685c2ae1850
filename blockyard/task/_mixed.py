"""Texts mixed by shares as a comparison sees them: rows of each as often as its share says, each scored by itself.

loss = sum over texts of share * bits per byte of its held-out text
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from blockyard.core.random import fold
from blockyard.data.mixed import Mixed, MixedOrder
from blockyard.data.rows import Arrays, Rows
from blockyard.data.shards import Split
from blockyard.task._material import GROUPS, Exam, Material, token_ends
from blockyard.task._metric import Metric
from blockyard.task._text import HEAD, LENGTHS, LOSS, text_exam, token_nats

FEWEST = 8  # groups of each text
OF = "mixed.of"  # the name, beside the tokens of an exam, of what says which text a row is of


class MixedText(Material):
    """Several texts: windows of them to train on, their held-out splits to score."""

    metric, plain_text = LOSS, True

    def __init__(self, data: Mixed) -> None:
        self.data, self.name, self.hash, self.notes = data, data.name, data.hash, data.notes
        self.ends = token_ends(data.codec.vocab)
        self.tokenizer = data.codec.to_json()
        self.bytes = dict(data.bytes)
        tokens_a_byte = (share * len(part.train) / part.bytes["train"] for share, part in zip(data.shares, data.parts))
        self.training = self.metric.unit, sum(tokens_a_byte) / math.log(2)
        self.also = tuple(Metric(f"loss on {name}", "bits/byte", "lower", 0.0) for name in data.names)
        self.spelt = data.codec.token_bytes

    @property
    def summary(self) -> str:
        return self.data.summary()

    @property
    def scored(self) -> dict[str, int]:
        return {role: sum(split.bytes for split in self._splits(role)) for role in ("tune", "final")}

    def order(self, length: int, batch: int, seed: int) -> MixedOrder:
        splits = [part.train for part in self.data.parts]
        return MixedOrder.of(splits, self.data.shares, length, batch, fold("order", seed))

    def exam(self, role: str, length: int) -> Exam:
        groups = max(FEWEST, GROUPS // len(self.data.parts))
        return self._joined([text_exam(split, length, groups) for split in self._splits(role)])

    def at_lengths(self, role: str, length: int, reach: Sequence[float] = ()) -> Iterator[tuple[int, Exam]]:
        """The heads of the splits in windows of other lengths."""
        splits = self._splits(role)
        head = HEAD // len(splits)
        for size in (int(length * factor) for factor in reach or LENGTHS):
            if size >= 1 and size + 1 < min(head, *map(len, splits)):
                yield size, self._joined([text_exam(split, size, 1, head // size) for split in splits]).whole()

    def amounts(self, said: Mapping[str, Any], batch: Any) -> Any:
        """(n,1+2k) nats; then of each text nats, and ln 2 times the bytes that its targets stand for."""
        import torch

        nats, asked = token_nats(said, batch), batch.targets >= 0
        spelt = torch.as_tensor(self.spelt.astype(np.float64), device=nats.device)[batch.targets.clamp(min=0)]
        sizes = math.log(2) * (spelt * asked).sum(1)
        own = torch.nn.functional.one_hot(batch.more[OF], len(self.data.parts)).double()
        return torch.cat([nats[:, None], own * nats[:, None], own * sizes[:, None]], 1)

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        nats, sizes = np.split(sums[1:], 2)
        return {metric.name: float(a / b) if b else float("nan") for metric, a, b in zip(self.also, nats, sizes)}

    def _joined(self, exams: Sequence[Exam]) -> Exam:
        """The rows of all texts, groups of each, weighed by the texts' shares."""
        first = np.cumsum([0, *(len(each.asked) for each in exams)])
        weights = np.concatenate([share * each.weights for share, each in zip(self.data.shares, exams)])
        return replace(
            exams[0], rows=_Joined([each.rows for each in exams]), weights=weights / weights.sum(), figure=self._figure,
            group=np.concatenate([each.group + at for each, at in zip(exams, first)]),
            asked=np.concatenate([each.asked for each in exams]),
        )  # fmt: skip

    def _figure(self, sums: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """(G,) bits per byte of each group, of the texts in it weighed by their shares."""
        nats, sizes = np.split(sums[:, 1:], 2, 1)
        share = np.where(sizes > 0, self.data.shares, 0.0)
        return (share * nats / np.where(sizes > 0, sizes, 1)).sum(1) / share.sum(1)

    def _splits(self, role: str) -> list[Split]:
        return [part.tune if role == "tune" else part.test for part in self.data.parts]


@dataclass(frozen=True, eq=False)
class _Joined:
    """The rows of several, one after the other, each with the number of those it is of."""

    parts: Sequence[Rows]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def take(self, index: Any) -> Arrays:
        places = np.arange(len(self))[index]
        ends = np.cumsum([len(part) for part in self.parts])
        of = np.searchsorted(ends, places, side="right")
        found: dict[str, np.ndarray] = {OF: of}
        for i, part in enumerate(self.parts):
            here = of == i
            if here.any():
                for name, values in part.take(places[here] - ends[i] + len(part)).items():
                    whole = found.setdefault(name, np.empty((len(places), *values.shape[1:]), values.dtype))
                    whole[here] = values
        return found
