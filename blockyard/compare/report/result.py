"""The outcome of a comparison: one JSON document, a table for a terminal, and a page."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.compare.judge.curves import along
from blockyard.compare.judge.power import seeds_for
from blockyard.compare.judge.statistics import EQUIVALENT, Table, Verdicts, analyse
from blockyard.compare.plan.dataset import direction
from blockyard.compare.report.page import render
from blockyard.compare.report.terminal import describe, describe_plan
from blockyard.core.files import sealed
from blockyard.model.find import FORMAT


@dataclass(frozen=True)
class Result:
    """A finished comparison. `data` is the JSON document; printing it gives the table."""

    data: dict[str, Any]

    def __str__(self) -> str:
        return describe(self.data) if "arms" in self.data else describe_plan(self.data["plan"])

    @property
    def arms(self) -> list[dict[str, Any]]:
        return self.data["arms"]

    @property
    def pairs(self) -> list[dict[str, Any]]:
        return self.data["pairs"]

    @property
    def best(self) -> list[str]:
        """The labels that may be the best."""
        return [arm["name"] for arm in self.arms if arm["candidate"]]

    @property
    def settled(self) -> bool:
        """Whether more seeds have nothing left to tell: one arm may be the best, or no pair is open."""
        return len(self.best) == 1 or all(p["resolved"] or p["verdict"] == EQUIVALENT for p in self.pairs)

    def write(self, folder: Path, save: Callable[[Path, bytes], None]) -> None:
        """result.json, report.txt and report.html, each whole or not at all."""
        self.data["report"] = str(folder / "report.html")
        save(folder / "result.json", sealed(self.data))
        for name, page in (("report.txt", describe(self.data) + "\n"), ("report.html", render(self.data))):
            save(folder / name, page.encode("utf-8", "backslashreplace"))  # the name of a file may be no UTF-8


Runs = dict[tuple[str, int], dict[str, Any]]


def assemble(
    plan: dict[str, Any], seeds: list[int], runs: Runs, rates: dict[tuple[str, int], tuple[float, bool]],
    trials: list[dict[str, list[float]]],
) -> Result:  # fmt: skip
    """Verdicts and figures of all arms, from the plan and the results of these seeds' final runs."""
    ids = [arm["id"] for arm in plan["arms"]]
    finished = {key: result for key, result in runs.items() if result["status"] == "finished"}
    turn = direction(plan["metric"])  # the statistics know losses only; scores come back as they were
    losses = {key: turn * np.array(result["groups"]) for key, result in finished.items()}
    weights = np.array(next(iter(finished.values()))["weights"]) if finished else np.ones(1)
    failed = {key for key in runs if key not in finished}
    if len(weights) < 8:  # too few for the uncertainty of the text: leave that part out, the report says so
        losses, weights = {key: np.array([weights @ y]) for key, y in losses.items()}, np.ones(1)
    relative = plan["metric"]["name"] == "loss"  # a share of wrong answers is a share already
    table = Table(ids, seeds, losses, weights, failed, share=not relative)
    means = [float(weights @ y) for y in losses.values()]
    margin = plan["margin"] * (abs(float(np.mean(means))) if relative else 1.0) if means else None
    verdicts = analyse(table, alpha=plan["alpha"], margin=margin, looks=len(plan["looks"]), against=plan["against"])
    label = {arm["id"]: arm["label"] for arm in plan["arms"]}
    by_id = {arm["id"]: arm for arm in plan["arms"]}
    pairs = [
        {"a": label[p.a], "b": label[p.b], **_turned(turn, p.low, p.high, difference=p.difference), "p": p.p,
         "resolved": p.resolved, "verdict": p.verdict, "note": p.note}
        for p in verdicts.pairs
    ]  # fmt: skip
    return Result({
        "format": FORMAT, "plan": plan, "metric": plan["metric"], "alpha": plan["alpha"],
        "margin": verdicts.margin, "looks": verdicts.looks, "seeds": seeds, "against": label.get(plan["against"]),
        "arms": [_arm(plan, seeds, by_id[a.name], a, runs, rates, trials) for a in verdicts.arms],
        "references": {name: float(weights @ np.array(y)) for name, y in plan["references"].items()},
        "pairs": pairs, "needed_difference": verdicts.needed_difference, "detectable": verdicts.detectable,
        "seeds_for_margin": _seeds(verdicts), "noisiest": label.get(verdicts.noisiest or ""),
        "spread_ratio": verdicts.spread_ratio, "along": along(plan, seeds, runs), "report": None,
    })  # fmt: skip


def _turned(turn: int, low: float | None, high: float | None, **figures: float | None) -> dict[str, Any]:
    """Figures and their interval in the direction of the metric; 0 has no sign."""
    low, high = (low, high) if turn > 0 else (high, low)
    return {key: None if x is None else turn * x + 0.0 for key, x in {**figures, "low": low, "high": high}.items()}


def _arm(
    plan: dict[str, Any], seeds: list[int], arm: dict[str, Any], score: Any, runs: Runs,
    rates: dict[tuple[str, int], tuple[float, bool]], trials: list[dict[str, list[float]]],
) -> dict[str, Any]:  # fmt: skip
    same, speed, turn = plan["same"], plan["speed"][arm["id"]], direction(plan["metric"])
    mine = [runs[arm["id"], seed] for seed in seeds]
    tokens = plan["steps"][arm["id"]] * same["batch"] * same["length"]
    folders = [f"runs/{result['key']}" for result in mine]
    best = min(
        (i for i, x in enumerate(score.per_seed) if x is not None), key=lambda i: score.per_seed[i], default=None
    )
    used, edges = zip(*(rates[arm["id"], seed] for seed in seeds))
    tried = np.mean([t[arm["id"]] for t in trials if t], axis=0) if any(trials) else []
    return {
        "name": arm["label"], "recipe": arm["name"], "params": arm["params"], "body_params": arm["body_params"],
        "flops_per_token": arm["flops_per_token"], "tokens": tokens, "flops": 3 * arm["flops_per_token"] * tokens,
        "score": {**_turned(turn, score.low, score.high, mean=score.mean),
                  "per_seed": [None if x is None else turn * x for x in score.per_seed]},
        "rank": list(score.rank) if score.rank else None, "letters": score.letters, "candidate": score.candidate,
        "finished": score.finished, "failed": score.failed, "failure_interval": list(score.failure_interval),
        "learning_rate": float(np.exp(np.mean(np.log(used)))) * math.sqrt(64 / arm["dim"]), "edge_of_grid": any(edges),
        "trials": [None if not math.isfinite(x) else float(x) for x in tried],
        "train_tokens_per_s": same["batch"] * same["length"] / speed["step"],
        "decode_tokens_per_s": 1 / speed["token"], "seconds": [result["seconds"] for result in mine],
        "peak_bytes": arm["peak_bytes"], "state_bytes": arm["state_bytes"],
        "curves": [result["curve"] for result in mine], "by_length": mine[0].get("lengths"),
        "lengths": [result.get("lengths") for result in mine], "probes": [result.get("probes") for result in mine],
        "status": "finished" if score.finished == len(mine) else "failed" if not score.finished else "partly failed",
        "runs": [{"seed": seed, "folder": folder} for seed, folder in zip(seeds, folders)],
        "model": None if best is None else {"seed": seeds[best], "folder": f"{folders[best]}/model"},
        "reasons": sorted({result["reason"] for result in mine if result["reason"]}),
    }  # fmt: skip


def _seeds(verdicts: Verdicts) -> dict[str, Any] | None:
    if verdicts.noise is None or not verdicts.margin:
        return None
    needed = seeds_for(verdicts.margin, verdicts.noise)
    return {"low": needed.low, "high": needed.high, "more_text": needed.more_text}
