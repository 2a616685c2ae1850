"""One run of a comparison: what names it, and how it is done.

A job is a plain dictionary, so that it can be sent to a worker, hashed and stored. Its key is the hash of everything
that can change its figures; only equal keys are ever reused.

    {"system", "ordinal", "data", "steps", "batch", "length", "seed", "role", "lr", ...}

Roles: `tune` scores on the tune split, `final` on the test split, and never the other way round. Data order depends
on the seed alone; the start of the weights and what is drawn while training on the seed, the system and its ordinal
(two equal arms differ).
"""

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blockyard.compare.plan import dataset as material
from blockyard.compare.plan.dataset import Exam, Material
from blockyard.compare.run.probes import inside
from blockyard.core.errors import UsageError
from blockyard.core.files import read_document, sealed, write_whole
from blockyard.core.random import fold
from blockyard.core.spec import Spec
from blockyard.model.model import Model, build
from blockyard.model.save import save_model
from blockyard.train.loop import Settings, train
from blockyard.train.precision import arithmetic

FORMAT = 2  # of result.json; 1 had no checksum
NUMERICS = 6  # raised when figures may change for the same job
TOKENS, LOGITS = 1 << 12, 1 << 20  # of a forward that scores, where training takes fewer: small batches waste time
Tell = Callable[[dict[str, Any]], None]
Price = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits (B,T,V), targets (B,T) -> amounts (B,)


def key_of(job: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that name a run's figures."""
    facts = {**job, "numerics": NUMERICS, "torch": torch.__version__, "machine": platform.machine(), "loops": loops()}
    facts = {name: value for name, value in facts.items() if name not in ("paths", "save_seconds", "lengths")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def loops() -> str | None:
    """What runs the recurrences: a twin that is forced, or the version of what compiles them; the last bits differ."""
    forced = os.environ.get("BLOCKYARD_KERNEL", "cpu")
    if forced not in ("", "cpu"):
        return forced
    try:
        return version("numba")
    except PackageNotFoundError:
        return None


def run_job(job: dict[str, Any], folder: Path, tell: Tell) -> dict[str, Any]:
    """Train and score one run, or give the result that it left before."""
    done = read_result(folder)
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    stuff = material.named(job)
    if stuff.hash != job["data"]:
        raise UsageError("the data changed since this comparison was planned; use another --out")
    system = Spec.from_json(job["system"])
    start = fold("start", job["seed"], system.hash, job["ordinal"])
    model = build(system, start).to(job["device"])
    settings = Settings(
        steps=job["steps"], lr=job["lr"], schedule=job["schedule"], precision=job["precision"], device=job["device"],
        micro=job["micro"], seed=start, log_every=max(1, job["steps"] // 40), save_seconds=job["save_seconds"],
    )  # fmt: skip
    order = stuff.order(job["length"], job["batch"], job["seed"])
    trained = train(system, model, order, settings, folder, lambda step, loss: tell({"step": step, "loss": loss}))
    result: dict[str, Any] = {
        "key": key_of(job), "status": trained.status, "reason": trained.reason, "steps": trained.steps,
        "seconds": trained.seconds, "curve": [[s * job["batch"] * job["length"], loss] for s, loss in trained.curve],
    }  # fmt: skip
    if trained.status == "finished":
        exam = stuff.exam(job["role"], job["length"])
        groups = exam.groups(amounts(model, stuff.amounts, exam, job))
        if not np.isfinite(groups).all():
            result |= {"status": "failed", "reason": "the score is not finite"}
        result |= {"groups": groups.tolist(), "weights": exam.weights.tolist(), "score": float(exam.weights @ groups)}
        if job["role"] == "final":
            if job["lengths"]:
                result["lengths"] = by_length(model, stuff, job)
            result["probes"] = inside(model, stuff, job)
            save_model(model, folder / "model", tokenizer=stuff.tokenizer)
    write_whole(folder / "result.json", sealed({"format": FORMAT, **result}))
    for left in folder.glob("*.ckpt"):
        left.unlink()
    return result


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result that the finished run of this folder left, if there is one; UsageError where it was changed."""
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        result = read_document(path, FORMAT, sealed_since=2)
    except UsageError as error:
        raise UsageError(f"{error}; remove {folder} to do this run again") from None
    if result.get("key") != folder.name:
        raise UsageError(f"{path} is the result of another run; remove {folder} to do this run again")
    return result


@torch.no_grad()
def amounts(model: Model, price: Price, exam: Exam, job: dict[str, Any]) -> np.ndarray:
    """(rows,) what every row of an exam cost the model: nats, or wrong answers."""
    found: list[np.ndarray] = []
    least = min(TOKENS, LOGITS // model.axes["stem.vocab"].size)
    size = max(1, max(job["batch"] * job["length"], least) // exam.length)
    for first in range(0, len(exam), size):
        tokens, targets = exam.rows(slice(first, min(first + size, len(exam))))
        ids, wanted = torch.from_numpy(tokens).to(job["device"]), torch.from_numpy(targets).to(job["device"])
        with arithmetic(job["precision"], job["device"]):
            logits = model(ids).logits
        found.append(price(logits, wanted).cpu().numpy())
    return np.concatenate(found)


def by_length(model: Model, stuff: Material, job: dict[str, Any]) -> dict[str, float | None]:
    """The score at other lengths than the training length; None where a model cannot go."""
    found: dict[str, float | None] = {}
    for length, exam in stuff.at_lengths(job["role"], job["length"]):
        try:
            value = float(exam.groups(amounts(model, stuff.amounts, exam, job))[0])
        except UsageError:
            value = math.nan
        found[str(length)] = value if math.isfinite(value) else None
    return found
