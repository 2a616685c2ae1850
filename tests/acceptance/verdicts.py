"""Can the verdicts be trusted? Comparisons whose right answer is known, with the product's own defaults.

    python -m tests.acceptance.verdicts              go on with what is missing, then print the counts

    aa      llama against itself, 100 seed bases 5000..5099 declared here: resolved at most 9 times of 100
    rate    one arm at a tenth of its tuned rate, bases 6000..6009 \\ resolved, the right arm ahead, in at least
    tokens  one arm on 80% of the tokens, bases 7000..7009         / 16 of these 20

Every comparison has two arms of 0.1M parameters, 60k tokens, tuned rates and the default number of seeds. A finished
one adds a line to results/verdicts.jsonl, which is never rewritten: there is no second try. Lines of other bases there
are from an earlier procedure.
"""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from blockyard.compare import compare as product
from blockyard.compare.judge.tuning import fit_rates
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.compare.run.pool import Pool
from blockyard.compare.run.progress import Watch
from blockyard.compare.run.store import Store

LEDGER = Path(__file__).parents[2] / "results" / "verdicts.jsonl"
CASES = {"aa": range(5000, 5100), "rate": range(6000, 6010), "tokens": range(7000, 7010)}
BOUNDS = {"aa": "at most 9 of 100", "rate": "16 of 20 with tokens", "tokens": "16 of 20 with rate"}


def asked(base: int) -> Request:
    """Two equal arms with the product's defaults."""
    return Request(("a=llama", "b=llama"), params="100k", tokens="60k", base=base)


def one(kind: str, base: int, folder: Path, pool: Pool) -> dict[str, Any]:
    """One comparison with a known answer; arm b is the handicapped one."""
    plan = replace(make_plan(asked(base)), save_seconds=600.0)
    slow = plan.arms[1].id
    store, watch = Store(folder, plan), Watch(quiet=True)

    def tenth(rates: Any, losses: Any) -> Any:
        found = fit_rates(rates, losses)
        return found | {slow: (found[slow][0] / 10, found[slow][1])}

    product.fit_rates = tenth if kind == "rate" else fit_rates
    if store.fresh:
        plan = product.measure_speed(store.plan, pool, watch)
        if kind == "tokens":
            plan = replace(plan, steps=plan.steps | {slow: round(0.8 * plan.steps[slow])})
        store.plan = plan
        store.write_plan()
    result = product._execute(store, pool, watch)
    (pair,) = result.pairs
    means = {arm.name: arm.score.mean for arm in result.arms}
    right = pair.resolved and pair.b == "b"
    return {"kind": kind, "base": base, "resolved": pair.resolved, "right": right, "pair": vars(pair), "means": means}


def main() -> None:
    LEDGER.parent.mkdir(exist_ok=True)
    lines = [json.loads(line) for line in LEDGER.read_text().splitlines()] if LEDGER.exists() else []
    done = {(line["kind"], line["base"]) for line in lines}
    scratch = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/verdicts")
    wanted = [(kind, base) for kind, bases in CASES.items() for base in bases if (kind, base) not in done]
    same = make_plan(asked(0)).same
    with Pool(same.workers, same.threads) as pool:
        for kind, base in wanted:
            folder = scratch / f"{kind}-{base}"
            line = one(kind, base, folder, pool)
            with open(LEDGER, "a") as ledger:
                ledger.write(json.dumps(line) + "\n")
            shutil.rmtree(folder)
            lines.append(line)
            print(kind, base, "resolved" if line["resolved"] else "not resolved", line["means"], flush=True)
    for kind in CASES:
        mine = [line for line in lines if line["kind"] == kind and line["base"] in CASES[kind]]
        found = sum(line["resolved"] if kind == "aa" else line["right"] for line in mine)
        print(f"{kind}: resolved in {found} of {len(mine)} (wanted: {BOUNDS[kind]})")


if __name__ == "__main__":
    main()
