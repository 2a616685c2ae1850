"""Do our forecasters give the figures that public code of the same models gives? Both trained side by side, here.

    python -m tests.acceptance.forecast_public [FOLDER]        prints a table; about five minutes on two cores

FOLDER is that of benchmark data (`BLOCKYARD_DATA`, else ../shared/data), with series/ETTh1.csv and series/ETTh2.csv.
All columns, 96 steps ahead from 96 back (patchtst) or 336 (the linear ones); 12, 4 and 4 months of 30 days to train,
tune and test, every window tested. Some hundred steps: both sides stop where training still goes on.

    patchtst   against PatchTSTForPrediction of transformers, made from a configuration of the same sizes
    dlinear    against two layers and a moving average in plain PyTorch, by the formula of its paper (2205.13504)
    nlinear    against one layer in plain PyTorch, by the formula of the same paper

The other side has windows, a loop and a schedule of its own, all in this file; it shares with ours the order of windows
and the numbers of SETTINGS. Ours runs as a comparison runs it. A ratio is of mean errors over seeds, in brackets a 95%
interval by the spread over seeds alone; wanted is a ratio between 0.97 and 1.03.
"""

import csv
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

import blockyard as by
from blockyard.data.rows import RowOrder
from blockyard.source import read
from blockyard.task import make_task
from blockyard.train.loop import Settings, train

HORIZON, BATCH, SEEDS, WANTED = 96, 32, 3, 0.03
MONTH = 30 * 24
ENDS = (12 * MONTH, 16 * MONTH, 20 * MONTH)
SETTINGS = {
    "patchtst": (96, 150, 2e-3),
    "dlinear": (336, 600, 2e-3),
    "nlinear": (336, 600, 2e-3),
}  # length, steps, rate
SIZES = dict(dim=16, layers=3, heads=4, ffn=128)
FILES = ("ETTh1", "ETTh2")


class Moving(nn.Module):
    """DLinear: the mean of 25 neighbours, ends repeated, through one layer; what is left through another."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.season, self.trend = nn.Linear(length, HORIZON), nn.Linear(length, HORIZON)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        ends = torch.cat([x[..., :1].expand(-1, -1, 12), x, x[..., -1:].expand(-1, -1, 12)], -1)
        trend = ends.unfold(-1, 25, 1).mean(-1)
        return (self.season(x - trend) + self.trend(trend)).transpose(1, 2)


class FromLast(nn.Module):
    """NLinear: one layer between what is counted from a window's last value."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layer = nn.Linear(length, HORIZON)

    def forward(self, x: Tensor) -> Tensor:
        last = x[:, -1:]
        return self.layer((x - last).transpose(1, 2)).transpose(1, 2) + last


class Patches(nn.Module):
    """PatchTST of transformers, without dropout, with layer norms and learned positions, as our recipe has them."""

    def __init__(self, length: int) -> None:
        from transformers import PatchTSTConfig, PatchTSTForPrediction

        super().__init__()
        sizes = dict(d_model=SIZES["dim"], num_hidden_layers=SIZES["layers"], num_attention_heads=SIZES["heads"],
                     ffn_dim=SIZES["ffn"], context_length=length, prediction_length=HORIZON, num_input_channels=7,
                     patch_length=16, patch_stride=8)  # fmt: skip
        how = dict(norm_type="layernorm", pre_norm=False, scaling="std", activation_function="gelu", loss="mse",
                   positional_encoding_type="random", share_projection=True, use_cls_token=False, pooling_type=None,
                   do_mask_input=False)  # fmt: skip
        none = [f"{what}dropout" for what in ("", "attention_", "positional_", "ff_", "path_", "head_")]
        config: dict[str, Any] = {**sizes, **how, **dict.fromkeys(none, 0.0)}
        self.model = PatchTSTForPrediction(PatchTSTConfig(**config))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(past_values=x).prediction_outputs


PUBLIC: dict[str, Callable[[int], nn.Module]] = {"patchtst": Patches, "dlinear": Moving, "nlinear": FromLast}


@dataclass(frozen=True)
class Numbers:
    """The rows of a file, scaled by those that train; windows by where they begin."""

    rows: np.ndarray
    length: int

    @staticmethod
    def of(path: Path, length: int) -> "Numbers":
        with open(path, newline="") as file:
            lines = list(csv.reader(file))[1:]
        rows = np.array([[float(cell) for cell in line[1:]] for line in lines])
        return Numbers(((rows - rows[: ENDS[0]].mean(0)) / rows[: ENDS[0]].std(0)).astype(np.float32), length)

    def begins(self, part: int) -> np.ndarray:
        first = 0 if part == 0 else ENDS[part - 1] - self.length
        return np.arange(first, ENDS[part] - self.length - HORIZON + 1)

    def windows(self, begins: np.ndarray) -> tuple[Tensor, Tensor]:
        at = begins[:, None] + np.arange(self.length + HORIZON)
        both = torch.from_numpy(self.rows[at])
        return both[:, : self.length], both[:, self.length :]


@dataclass(frozen=True)
class Places:
    """Windows to be drawn from, each told by its place."""

    count: int

    def __len__(self) -> int:
        return self.count

    def take(self, index: Any) -> dict[str, np.ndarray]:
        return {"tokens": index}


def rate(step: int, steps: int, peak: float) -> float:
    """Up in a line over a tenth of the steps, down half a cosine to a tenth of the peak."""
    up = (step + 1) / steps / 0.1
    fallen = max(0.0, step / steps - 0.1) / 0.9
    return peak * min(up, 1.0, 0.1 + 0.9 * (1 + math.cos(math.pi * fallen)) / 2)


def theirs(name: str, numbers: Numbers, order: np.ndarray, seed: int) -> nn.Module:
    """The public side, trained on the windows of an order (steps, batch)."""
    _, steps, peak = SETTINGS[name]
    torch.manual_seed(seed)
    model = PUBLIC[name](numbers.length).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.0)
    begins = numbers.begins(0)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps, peak)
        x, y = numbers.windows(begins[order[step]])
        optimiser.zero_grad()
        (model(x) - y).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval()


def ours(name: str, material: Any, seed: int) -> Any:
    """Our side, as a comparison trains it."""
    length, steps, peak = SETTINGS[name]
    told: dict[str, Any] = dict(length=length, horizon=HORIZON, channels=7, outputs=7) | (
        SIZES if name == "patchtst" else {}
    )
    system = material.fit(by.spec(name, None, **told))
    plan = Settings(steps, peak, weight_decay=0.0, seed=seed)
    return train(system, by.build(system, seed=seed), material.order(length, BATCH, seed), plan).model


@torch.no_grad()
def errors(forecast: Callable[[Tensor], Tensor], numbers: Numbers) -> tuple[float, float]:
    """The mean squared and the mean absolute error over every window of the test."""
    squared = absolute = 0.0
    begins = numbers.begins(2)
    for first in range(0, len(begins), 128):
        x, y = numbers.windows(begins[first : first + 128])
        off = (forecast(x) - y).double()
        squared, absolute = squared + off.square().sum().item(), absolute + off.abs().sum().item()
    asked = len(begins) * HORIZON * numbers.rows.shape[1]
    return squared / asked, absolute / asked


def spread(values: np.ndarray) -> float:
    """Half of a 95% interval of the mean of these runs."""
    n = len(values)
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))


def ratio(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Of two means: their ratio and a 95% interval of it, by the spread of both on a scale of logarithms."""
    n = len(a)
    wide = math.sqrt(sum(x.var(ddof=1) / n / x.mean() ** 2 for x in (a, b)))
    found, half = a.mean() / b.mean(), stdtrit(2 * n - 2, 0.975) * wide
    return found, found * math.exp(-half), found * math.exp(half)


def compared(name: str, numbers: Numbers, material: Any) -> dict[str, np.ndarray]:
    """(S,2) errors of both sides, seed by seed."""
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "public": []}
    for seed in range(SEEDS):
        drawn = RowOrder(Places(len(numbers.begins(0))), BATCH, material.order(numbers.length, BATCH, seed).seed)
        order = np.stack([drawn.next(step)["tokens"] for step in range(SETTINGS[name][1])])
        mine = ours(name, material, seed)
        found["ours"].append(errors(lambda x, m=mine: m(by.Batch(x)).prediction["forecast"], numbers))
        found["public"].append(errors(theirs(name, numbers, order, seed), numbers))
    return {side: np.array(values) for side, values in found.items()}


def same_windows(numbers: Numbers, material: Any) -> None:
    """Both sides read the same numbers, or nothing is compared."""
    for part in range(3):
        held, begins = material.series.windows(part), numbers.begins(part)
        x, y = numbers.windows(begins[[0, -1]])
        mine = held.take(np.array([0, len(held) - 1]))
        if len(held) != len(begins) or np.abs(mine["tokens"] - x.numpy()).max() > 1e-5:
            raise SystemExit("the windows of both sides are not the same")
        assert np.abs(mine["targets"] - y.numpy()).max() <= 1e-5


def main() -> int:
    told = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BLOCKYARD_DATA", "../shared/data")
    folder, outside, began = Path(told) / "series", 0, time.monotonic()
    if not folder.is_dir():
        raise SystemExit(f"there is no {folder}; name the folder of benchmark data")
    print(f"{HORIZON} steps ahead, {SEEDS} seeds, batches of {BATCH}: mean and half a 95% interval over seeds")
    for file in FILES:
        for name in PUBLIC:
            length = SETTINGS[name][0]
            numbers = Numbers.of(folder / f"{file}.csv", length)
            task: Any = make_task(f"forecast:horizon={HORIZON},length={length},split=12:4:4")
            material = task.material(read([str(folder / f"{file}.csv")]))
            same_windows(numbers, material)
            found = compared(name, numbers, material)
            for place, metric in enumerate(("mse", "mae")):
                a, b = (found[side][:, place] for side in ("ours", "public"))
                of, low, high = ratio(a, b)
                outside += abs(of - 1) > WANTED
                print(
                    f"{file} {name:9} {metric}  ours {a.mean():.4f} ± {spread(a):.4f}  public {b.mean():.4f} ± "
                    f"{spread(b):.4f}  ratio {of:.3f} ({low:.3f} to {high:.3f})",
                    flush=True,
                )
    print(f"{outside} of {2 * len(FILES) * len(PUBLIC)} ratios lie outside 3%; {time.monotonic() - began:.0f} s")
    return int(outside > 0)


if __name__ == "__main__":
    sys.exit(main())
