"""Studies: small experiments that re-test a claim under an equal budget, with predictions written before the run.

`run_study("recall_and_attention", tier="small")` runs the races and writes `results/<study>/<date>.json`;
`status()` reads what is there.
"""

import time
from datetime import date
from pathlib import Path
from typing import Any

from blockyard.compare.compare import compare
from blockyard.core import registry
from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import read_document, sealed, write_whole
from blockyard.study._base import SMOKE, Study

FORMAT = 2  # of a record; 1 had no checksum and did not say so
TOLD = {"study", "slug", "tier", "seeds", "date", "verdict", "predictions"}
TIERS = ("smoke", "small")
KEPT = ("name", "params", "tokens", "score", "lengths", "rank", "letters", "learning_rate", "edge_of_grid", "probes",
        "train_tokens_per_s", "state_bytes", "finished", "failed", "status")  # fmt: skip


def studies() -> list[str]:
    """The names of all studies."""
    return list(registry.entries("study"))


def run_study(name: str, tier: str = "small", out: str | Path = "results", quiet: bool = False) -> dict[str, Any]:
    """Run a study at a tier and keep its record; runs that a stopped study has finished are not repeated."""
    entry = registry.find("study", name)
    if tier not in TIERS:
        raise unknown("tier", tier, TIERS)
    study: Study = entry.load().study()
    began, folder = time.monotonic(), Path(out) / entry.name
    results = {}
    for race in study.races:
        options = {**race.options, **(SMOKE if tier == "smoke" else {})}
        work = Path("runs") / "study" / entry.name / tier / race.name
        results[race.name] = compare(race.arms, task=race.task, out=work, quiet=quiet, **options)
    findings = [(p, p.judge(results[p.race])) for p in study.predictions]
    record = {
        "slug": entry.header.get("Slug", entry.name), "study": entry.name, "tier": tier,
        "predictions": [{"text": p.text, **finding._asdict()} for p, finding in findings],
        "verdict": study.verdict([finding for _, finding in findings]),
        "seeds": max(len(result.data["seeds"]) for result in results.values()),
        "seconds": round(sum(sum(sum(a["seconds"]) for a in r.arms) for r in results.values()), 1),
        "wall_seconds": round(time.monotonic() - began, 1), "date": date.today().isoformat(),
        "command": f"blockyard study {entry.name} --tier {tier}",
        "races": {
            name: {"task": r.data["plan"]["data"]["task"], "metric": r.data["metric"], "pairs": r.pairs,
                   "references": r.data["references"], "matched": r.data["plan"]["matched"],
                   "arms": [{key: arm[key] for key in KEPT} for arm in r.arms]}
            for name, r in results.items()
        },
    }  # fmt: skip
    if tier != "smoke":
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{record['date']}.json", sealed({"format": FORMAT, **record}))
    return record


def status(out: str | Path = "results") -> list[dict[str, Any]]:
    """The latest record of every study that was run, without its figures."""
    found = []
    for name in studies():
        records = sorted((Path(out) / name).glob("*.json"))
        if records:
            record = read_document(records[-1], FORMAT, sealed_since=2)
            if not record.keys() >= TOLD or not isinstance(record["predictions"], list):
                raise UsageError(f"{records[-1]} is damaged, or no record of a study; remove it")
            found.append({key: value for key, value in record.items() if key not in ("races", "format")})
    return found
