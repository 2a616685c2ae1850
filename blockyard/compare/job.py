"""One run of a comparison: what names it, and how it is done.

A job is a plain dictionary, so that it can be sent to a worker, hashed and stored. Its key is the hash of everything
that can change its figures; only equal keys are ever reused.

    {"system", "ordinal", "data", "steps", "batch", "length", "seed", "role", "lr", ...}

Roles: `tune` scores on the tune split, `final` on the test split, and never the other way round. Data order depends
on the seed alone; the start of the weights on the seed, the system and its ordinal (two equal arms differ).
"""

import hashlib
import json
import math
import platform
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from blockyard.core.errors import UsageError
from blockyard.core.random import fold
from blockyard.core.spec import Spec
from blockyard.data import Corpus, TrainOrder, eval_windows, load_text
from blockyard.data.shards import Split
from blockyard.data.windows import EvalWindows
from blockyard.model.model import Model, build
from blockyard.model.save import save_model
from blockyard.train.checkpoint import write_atomic
from blockyard.train.loop import Settings, train
from blockyard.train.precision import arithmetic

NUMERICS = 1  # raised when figures may change for the same job
GROUPS = 32
HEAD = 32768  # tokens that the loss at other lengths is read from
Tell = Callable[[dict[str, Any]], None]


def key_of(job: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that name a run's figures."""
    facts = {**job, "numerics": NUMERICS, "torch": torch.__version__, "machine": platform.machine()}
    facts = {name: value for name, value in facts.items() if name not in ("paths", "save_seconds", "lengths")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@lru_cache(maxsize=2)
def corpus(paths: tuple[str, ...] | None, codec: str) -> Corpus:
    """The text of a job, read once a process."""
    return load_text(list(paths) if paths else None, codec=codec)


def run_job(job: dict[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    """Train and score one run, or give the result that it left before."""
    done = read_result(folder)
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    text = corpus(tuple(job["paths"]) if job["paths"] else None, job["codec"])
    if text.hash != job["data"]:
        raise UsageError("the data changed since this comparison was planned; use another --out")
    system = Spec.from_json(job["system"])
    model = build(system, fold("start", job["seed"], system.hash, job["ordinal"])).to(job["device"])
    settings = Settings(
        steps=job["steps"], lr=job["lr"], schedule=job["schedule"], precision=job["precision"], device=job["device"],
        micro=job["micro"], seed=job["seed"], log_every=max(1, job["steps"] // 40), save_seconds=job["save_seconds"],
    )  # fmt: skip
    order = TrainOrder(text.train, job["length"], job["batch"], fold("order", job["seed"]))
    trained = train(system, model, order, settings, folder, lambda step, loss: tell({"step": step, "loss": loss}))
    result: dict[str, Any] = {
        "key": key_of(job), "status": trained.status, "reason": trained.reason, "steps": trained.steps,
        "seconds": trained.seconds, "curve": [[s * job["batch"] * job["length"], loss] for s, loss in trained.curve],
    }  # fmt: skip
    if trained.status == "finished":
        split = text.tune if job["role"] == "tune" else text.test
        windows = eval_windows(split, job["length"], GROUPS)
        groups = windows.bits_per_byte(losses(model, windows, job))
        if not np.isfinite(groups).all():
            result |= {"status": "failed", "reason": "the score is not finite"}
        result |= {
            "groups": groups.tolist(),
            "weights": windows.weights.tolist(),
            "score": float(windows.weights @ groups),
        }
        if job["role"] == "final":
            if job["lengths"]:
                result["lengths"] = by_length(model, split, job)
            save_model(model, folder / "model", tokenizer=text.codec.to_json())
    write_atomic(folder / "result.json", json.dumps(result).encode())
    for left in folder.glob("*.ckpt"):
        left.unlink()
    return result


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result a finished run left, if it is whole."""
    try:
        return json.loads((folder / "result.json").read_text())
    except (OSError, ValueError):
        return None


@torch.no_grad()
def losses(model: Model, windows: EvalWindows, job: dict[str, Any], most: int | None = None) -> np.ndarray:
    """(W,) the summed loss in nats of every window, or of the first `most`."""
    count = len(windows) if most is None else min(most, len(windows))
    found: list[np.ndarray] = []
    rows = max(1, job["batch"] * job["length"] // windows.length)
    for first in range(0, count, rows):
        batch = windows.rows(slice(first, min(first + rows, count)))
        ids, keys = torch.from_numpy(batch.tokens).to(job["device"]), torch.from_numpy(batch.keys).to(job["device"])
        with arithmetic(job["precision"], job["device"]):
            logits = model(ids[:, :-1]).logits
        each = cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view_as(keys)
        found.append(each.double().masked_fill(~keys, 0).sum(1).cpu().numpy())
    return np.concatenate(found)


def by_length(model: Model, split: Split, job: dict[str, Any]) -> dict[str, float | None]:
    """Bits per byte of the split's head at 1/2, 1, 2 and 4 times the training length; None where a model cannot go."""
    found: dict[str, float | None] = {}
    for length in (job["length"] // 2, job["length"], 2 * job["length"], 4 * job["length"]):
        if length < 1 or length + 1 >= min(len(split), HEAD):
            continue
        windows = eval_windows(split, length, 1)
        most = min(len(windows), HEAD // length)
        try:
            nats = losses(model, windows, job, most)
        except UsageError:
            found[str(length)] = None
            continue
        size = int(split.token_bytes[split.tokens[windows.first[0] : windows.last[most - 1]]].sum())
        value = float(nats.sum() / (math.log(2) * size))
        found[str(length)] = value if math.isfinite(value) else None
    return found
