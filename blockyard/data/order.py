"""The order of training data: a pure function of the seed and the step, the same for every arm of a comparison."""

import numpy as np

from blockyard.core.errors import UsageError
from blockyard.data.shards import Split


class TrainOrder:
    """Windows of a split in a seeded order: `next(step)` gives the batch of that step, whatever was asked before.

    Shapes   batch (B, T+1): columns 0..T-1 are inputs, 1..T their targets

    An epoch cuts the ids, seen as a ring, into N // T windows from a random phase, so that no id is favoured, and draws
    them without replacement. Documents lie end to end without a separator and windows cross their borders, as is usual
    for GPT; the one window over the ring's seam reads from the last id on to the first.
    """

    def __init__(self, split: Split, length: int, batch: int, seed: int) -> None:
        if length < 1 or batch < 1:
            raise UsageError(f"length {length} and batch {batch} must be at least 1")
        if len(split) < length + 1:
            raise UsageError(
                f"the {split.name} split is too short: {len(split)} tokens, a length of {length} needs {length + 1}; "
                "give more text or a smaller length"
            )
        self.split, self.length, self.batch, self.seed = split, length, batch, seed
        self.windows = len(split) // length
        self._epochs: dict[int, np.ndarray] = {}

    def next(self, step: int, rank: int = 0, world: int = 1) -> np.ndarray:
        """The ids of a step, int64 (B, T+1); of N processes, process `rank` gets rows rank::world."""
        if step < 0 or not 0 <= rank < world:
            raise ValueError(f"step {step} must be at least 0, rank {rank} in 0..{world - 1}")
        rows = np.arange(rank, self.batch, world, dtype=np.int64) + step * self.batch
        epochs, index = rows // self.windows, rows % self.windows
        starts = np.empty_like(rows)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            starts[here] = self._starts(int(epoch))[index[here]]
        index = (starts[:, None] + np.arange(self.length + 1)) % len(self.split)
        return np.asarray(self.split.tokens[index], np.int64)

    def state(self) -> dict[str, int]:
        """Nothing to keep: the step alone says where the order stands."""
        return {}

    def _starts(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin, in the order drawn; the last two epochs are cached."""
        if epoch not in self._epochs:
            self._epochs = {e: v for e, v in self._epochs.items() if e == epoch - 1}
            # Raw bits and a stable sort: numpy promises to keep these streams, but not those of its shuffles.
            bits = np.random.PCG64(np.random.SeedSequence([self.seed % 2**64, epoch]))
            phase = int(bits.random_raw()) % len(self.split)
            order = np.argsort(bits.random_raw(self.windows), kind="stable")
            self._epochs[epoch] = (phase + order * self.length) % len(self.split)
        return self._epochs[epoch]
