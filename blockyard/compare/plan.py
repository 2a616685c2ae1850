"""The plan of a comparison: everything that is decided before the first run, as one JSON document."""

import math
import os
import platform
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from blockyard import __version__, systems
from blockyard.compare import job
from blockyard.compare.budget import quantity, solve
from blockyard.compare.power import default_seeds
from blockyard.compare.store import FORMAT
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec, write_value
from blockyard.model.count import count, state_bytes
from blockyard.train.precision import choose

RATES = (2.5e-3, 5e-3, 1e-2, 2e-2)  # at width 64; one octave apart
WIDTH = 64
STATE_LENGTHS = (1024, 8192, 65536)
SIDE_BY_SIDE = 256  # narrower models do not use a second thread well
TUNINGS = ("fit", "none")


@dataclass(frozen=True)
class Request:
    """What a user asks `compare` for; the defaults are what the command line prints."""

    targets: tuple[str, ...]
    data: tuple[str, ...] = ()
    params: str | float = "200k"
    tokens: str | float | None = None
    flops: str | float | None = None
    minutes: float | None = None
    length: int = 128
    batch: int = 16
    device: str | None = None
    precision: str | None = None
    seeds: int | None = None
    margin: float = 0.01
    tuning: str = "fit"
    codec: str = "bytes"
    base: int = 0
    overrides: tuple[tuple[str, Any], ...] = ()
    alpha: float = 0.05


def make_plan(request: Request, told: Any = print) -> dict[str, Any]:
    """Match every arm to the budget and fix what all of them share."""
    if not request.targets:
        raise UsageError("nothing to compare; for example: blockyard compare llama gla")
    axis = [name for name in ("tokens", "flops", "minutes") if getattr(request, name) is not None]
    if len(axis) > 1:
        raise UsageError(f"--{axis[0]} and --{axis[1]} both say how long to train; give one")
    if request.tuning not in TUNINGS:
        raise UsageError(f"tuning {request.tuning!r} is not one of {', '.join(TUNINGS)}")
    for name, least in (("length", 2), ("batch", 1), ("seeds", 1), ("margin", 0)):
        value = getattr(request, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} {value} must be at least {least}")
    text = job.corpus(request.data or None, request.codec)
    for note in text.notes:
        told(note)
    arms = _arms(request, quantity(request.params, "--params"), text.codec.vocab)
    measure = axis[0] if axis else "tokens"
    amount = quantity(getattr(request, measure) or "200k", f"--{measure}")
    seeds = request.seeds or default_seeds(len(arms))
    return {
        "format": FORMAT,
        "arms": arms,
        "data": {
            "name": text.name,
            "hash": text.hash,
            "paths": [path if path == "-" else os.path.abspath(path) for path in request.data],
            "codec": request.codec,
            "summary": text.summary(),
            "bytes": dict(text.bytes),
        },
        "matched": {"params": quantity(request.params, "--params"), measure: amount},
        "same": _same(request, max(arm["dim"] for arm in arms)),
        "tuning": request.tuning,
        "alpha": request.alpha,
        "margin": request.margin,
        "seeds": [request.base * 100 + i for i in range(seeds)],
        "tuning_seed": request.base * 100 + 99,
        "versions": {
            "blockyard": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "torch": torch.__version__,
            "numerics": job.NUMERICS,
        },
    }


def _same(request: Request, widest: int) -> dict[str, Any]:
    """What all arms share. Narrow models train side by side, a thread each; wide ones one at a time with all cores."""
    device = request.device or ("cuda" if torch.cuda.is_available() else "cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    narrow = device == "cpu" and widest < SIDE_BY_SIDE
    return {
        "length": request.length,
        "batch": request.batch,
        "schedule": "cosine",
        "warmup": 0.1,
        "weight_decay": 0.1,
        "clip": 1.0,
        "optimiser": "AdamW(0.9, 0.95)",
        "device": device,
        "precision": choose(request.precision, device, widest),
        "workers": cores if narrow else 1,
        "threads": 1 if narrow else cores,
        "rates": list(RATES),
        "rate_rule": f"rate * sqrt({WIDTH} / dim)",
    }


def _arms(request: Request, params: float, vocab: int) -> list[dict[str, Any]]:
    seen: Counter[str] = Counter()
    labels: set[str] = set()
    arms = []
    for target in request.targets:
        label, name, own = systems.parse_target(target)
        if label in labels:
            raise UsageError(f"two arms are called {label}; give them labels, for example: a={name} b={name}")
        labels.add(label)
        entry = registry.find("recipe", name)
        overrides = dict(request.overrides) | own
        if vocab != 256:
            overrides.setdefault("vocab", vocab)
        if "length" in entry.schema:
            overrides.setdefault("length", request.length)
        overrides = {k: v for k, v in overrides.items() if "." in k or k in entry.schema or k in own}
        system = solve(name, params, overrides)
        system = system.but(model=system["model"].but(length=request.length))
        costs = count(system, request.length, request.batch)
        said = dict(request.overrides) | own
        arms.append(
            {
                "label": label,
                "name": entry.name,
                "overrides": {key: write_value(value) for key, value in said.items()},
                "system": system.to_json(),
                "hash": system.hash,
                "ordinal": seen[system.hash],
                "id": f"{system.hash}-{seen[system.hash]}",
                "dim": system["model"]["dim"],
                "params": costs.params,
                "body_params": costs.body_params,
                "flops_per_token": costs.flops_per_token,
                "peak_bytes": costs.training_bytes,
                "state_bytes": {str(length): _state(system, length) for length in STATE_LENGTHS},
            }
        )
        seen[system.hash] += 1
    return arms


def _state(system: Spec, length: int) -> int | None:
    try:
        return state_bytes(system, length)
    except UsageError:
        return None


def steps_of(plan: dict[str, Any], seconds: dict[str, float]) -> dict[str, int]:
    """How many steps every arm trains, by its id; `seconds` a step are asked for only by a budget in minutes."""
    same, matched = plan["same"], plan["matched"]
    per_step = same["length"] * same["batch"]
    steps = {}
    for arm in plan["arms"]:
        if "tokens" in matched:
            amount = matched["tokens"] / per_step
        elif "flops" in matched:
            amount = matched["flops"] / (3 * arm["flops_per_token"] * per_step)
        else:
            amount = 60 * matched["minutes"] / seconds[arm["id"]]
        steps[arm["id"]] = math.ceil(amount - 1e-9)
    if min(steps.values()) < 1:
        raise UsageError("the budget does not reach for one step of every arm; raise it, or lower --batch or --length")
    return steps


def make_job(plan: dict[str, Any], arm: dict[str, Any], role: str, seed: int, rate: float) -> dict[str, Any]:
    """One run of the plan."""
    same, data = plan["same"], plan["data"]
    return {
        "system": arm["system"],
        "ordinal": arm["ordinal"],
        "data": data["hash"],
        "paths": data["paths"],
        "codec": data["codec"],
        "steps": plan["steps"][arm["id"]],
        "seed": seed,
        "role": role,
        "lr": rate * math.sqrt(WIDTH / arm["dim"]),
        **{name: same[name] for name in ("batch", "length", "schedule", "precision", "threads", "device")},
        "micro": None,
        "save_seconds": plan.get("save_seconds", 20.0),
        "lengths": role == "final" and seed == plan["seeds"][0],
    }


def seconds_of(plan: dict[str, Any], arm: dict[str, Any], role: str) -> float:
    """How long a run should take, from the bench: training, and scoring at about two fifths of its price a token."""
    same, data = plan["same"], plan["data"]["bytes"]
    step = plan["speed"][arm["id"]]["step"]
    scored = data["tune"] if role == "tune" else data["test"]
    return step * (plan["steps"][arm["id"]] + 0.4 * scored / (same["length"] * same["batch"])) + 0.1


def estimate(plan: dict[str, Any]) -> float:
    """Seconds that the whole comparison should take."""
    tuning = len(RATES) if plan["tuning"] == "fit" else 0
    total = sum(
        tuning * seconds_of(plan, arm, "tune") + len(plan["seeds"]) * seconds_of(plan, arm, "final")
        for arm in plan["arms"]
    )
    return total / plan["same"]["workers"]
