"""What the text that no try is scored on says of the chain: both its ends, on seeds of their own and the test split."""

import numpy as np

from blockyard.compare.judge.statistics import Table, analyse
from blockyard.referee.court import Court
from blockyard.referee.ledger import Ledger, Look

LOOKS = 10**6  # look k has the seeds from k times this


def looked(ledger: Ledger, court: Court) -> Look:
    """Both ends of the chain on the held-out text: seeds and groups of the text, as a comparison judges two arms."""
    number, plan = len(ledger.looks) + 1, court.store.plan
    seeds = range(LOOKS * number, LOOKS * number + ledger.most)
    ends = ((ledger.arm, ledger.rate), (ledger.now_arm, ledger.now_rate))
    court.watch.say("training both ends of the chain for the held-out text ...")
    runs = court.runs("final", *((arm, seed, rate) for seed in seeds for arm, rate in ends))
    names = [arm for _ in seeds for arm in ("first", "last")]
    losses, failed = {}, set()
    for name, seed, run in zip(names, [seed for seed in seeds for _ in ends], runs):
        if not run.finished:
            failed.add((name, seed))
            continue
        losses[name, seed] = plan.metric.sign * np.array(run.groups, np.float64) / ledger.scale
    weights = np.array(next(run.weights for run in runs if run.finished))
    level = ledger.asked.alpha / (number * (number + 1))
    table = Table(["first", "last"], seeds, losses, weights / weights.sum(), failed, plan.metric.share)
    pair = analyse(table, alpha=level).pair("first", "last")
    turn = 1 if pair.a == "first" else -1
    low, high = (pair.low, pair.high) if turn > 0 else (pair.high, pair.low)
    bounds = [None if end is None else turn * end + 0.0 for end in (low, high)]
    return Look(ledger.kept[-1].number, level, len(seeds), turn * pair.difference, bounds[0], bounds[1], pair.verdict)
