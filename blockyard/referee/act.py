"""What a referee does: measure the noise once, answer a change, show the ledger.

    init      tune the baseline, train it on seeds of their own until their spread says how many seeds a try needs
    attempt   one seed after another of the change and of the baseline, until the evidence answers
    show      every try; and when asked, both ends of the chain on the test split: tries see the tune split only

Seeds: 0, 1, ... measure the noise; tries against the baseline that came after k keeps share 1000 (k + 1) + 0, 1, ...;
look k at the test split has 10^6 k + 0, 1, ... A kept change is trained anew on the seeds of its own reign, since those
that it was kept for flatter it. The ledger is written before a try trains and after its answer: a try that was killed
goes on, by runs that are found where they were left, and its level is spent once.
"""

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from blockyard.compare.compare import measure_speed
from blockyard.compare.documents import Arm
from blockyard.compare.plan.plan import Request, make_plan
from blockyard.compare.run.pool import Pool
from blockyard.compare.run.progress import Watch
from blockyard.compare.run.store import Store
from blockyard.core import numbers
from blockyard.core.errors import UsageError, WorkFailed, unknown
from blockyard.referee.change import arm_of, register, with_files, written
from blockyard.referee.court import Court, enter, known_plan, opened, planned
from blockyard.referee.evidence import DISCARD, FEWEST, KEEP, MISS, UNDECIDED, chance, log_evidence, looks
from blockyard.referee.floor import begun, ratio
from blockyard.referee.held import looked
from blockyard.referee.ledger import LEFT, OPEN, Asked, Ledger, Try, read_ledger, write_ledger
from blockyard.systems import parse_arm

TUNINGS = ("baseline", "fit", "none")
BUDGET, EFFECT = 24, 0.01
REIGN = 1000  # tries against the baseline that came after k keeps have the seeds from (k + 1) times this


def init(
    baseline: str, *, out: str | Path, data: str | list[str] | tuple[str, ...] = (), effect: float | str = EFFECT,
    alpha: float | str = 0.05, seeds: int | str = BUDGET, tuning: str = "baseline", quiet: bool = False, **asked: Any,
) -> Ledger:  # fmt: skip
    """Measure the noise of a baseline once, and begin the ledger in a folder; the same call again goes on, or answers.

    baseline   an arm as `compare` takes it            out      the folder: ledger, runs, files of changes
    effect     the size of change to be found, as a share of the score ("1%", 0.01); of a score that is a share, in its
               unit
    alpha      the chance at most that any change is kept while none is a gain, over all tries
    seeds      the most seeds that a try may take
    tuning     baseline (its rate for all), fit (the rate of every change too), none
    data       files or folders, as for `compare`      quiet    no progress on standard error
    asked      task, params | memory, tokens | flops, length, batch, device, precision, codec, as for `compare`

    UsageError where so many seeds cannot see the effect; it says which one they can.
    """
    folder, watch = Path(out), Watch(quiet)
    if tuning not in TUNINGS:
        raise unknown("tuning", tuning, TUNINGS)
    size, level = numbers.EFFECT(effect, "--effect"), numbers.ALPHA(alpha, "--alpha")
    budget = numbers.TRY_SEEDS(seeds, "--seeds")
    register(folder)
    target = parse_arm(with_files(baseline, folder))
    if target.then:
        raise UsageError(f"baseline {baseline!r}: what a trained model becomes (|) cannot be tried against")
    said = Asked(written(target), size, level, budget, tuning)
    paths = (data,) if isinstance(data, str) else tuple(data)
    rates = "none" if tuning == "none" else "fit"
    plan = make_plan(Request((said.baseline,), paths, seeds=1, tuning=rates, **asked), watch.say)
    with closing(Store(folder, plan)) as store:
        if (folder / "ledger.json").exists():
            ledger = read_ledger(folder)
            if ledger.asked != said:
                raise UsageError(f"{folder} holds a referee that was asked otherwise; use another --out")
            return ledger
        with Pool(plan.same.workers, plan.same.threads) as pool:
            if store.fresh:
                store.plan = measure_speed(store.plan, pool, watch)
                store.write_plan()
            return write_ledger(folder, begun(Court(store, pool, watch), said))


def attempt(change: str, *, out: str | Path, quiet: bool = False) -> Try:
    """Answer one change: its Try, whose `answer` is keep, discard or undecided.

    change   settings of the baseline, a whole arm, or a file that registers a part or a recipe (change.py)
    out      the folder of the referee                 quiet    no progress on standard error

    A change that was answered against this baseline gets that answer again. One that was stopped goes on. UsageError,
    and no try is spent, where it cannot be made or is the baseline itself.
    """
    folder, watch = Path(out), Watch(quiet)
    ledger = read_ledger(folder)
    register(folder)
    text = arm_of(change, ledger.now, folder)
    fresh = planned(folder, text)
    arm = fresh.arms[0]
    with closing(opened(folder, known_plan(folder), fresh)) as store:
        if read_ledger(folder).now != ledger.now:  # whoever held the folder until now kept another change
            raise UsageError(f"the baseline of {folder} has changed just now; give the same command again")
        ledger = read_ledger(folder)
        if arm.id == ledger.now_arm:
            raise UsageError(f"change {change!r} changes nothing: it is the baseline")
        mine = [each for each in ledger.tries if each.arm == arm.id and each.against == ledger.now_arm]
        if mine and mine[-1].decided:
            watch.say(f"this was answered before, as try {mine[-1].number}")
            return mine[-1]
        enter(store, arm)
        with Pool(store.plan.same.workers, store.plan.same.threads) as pool:
            court = Court(store, pool, watch)
            ledger = write_ledger(folder, _entered(ledger, change, text, arm, court))
            done = _tried(ledger, ledger.tries[-1], court)
        write_ledger(folder, ledger.with_try(done))
        return done


def show(out: str | Path, *, held_out: bool = False, quiet: bool = False) -> Ledger:
    """The ledger of a folder; with `held_out` what the text that no try sees says of the chain so far.

    out        the folder of the referee
    held_out   look at that text, where the chain was not looked at before        quiet   no progress on standard error

    A look at that text trains both ends of the chain on fresh seeds. Its interval holds over all looks at once: look k
    has alpha / (k (k + 1)). The same chain is looked at once.
    """
    folder, watch = Path(out), Watch(quiet)
    ledger = read_ledger(folder)
    if not held_out or not ledger.kept or any(each.upto == ledger.kept[-1].number for each in ledger.looks):
        return ledger
    register(folder)
    with closing(opened(folder, known_plan(folder), planned(folder, ledger.now))) as store:
        ledger = read_ledger(folder)
        with Pool(store.plan.same.workers, store.plan.same.threads) as pool:
            look = looked(ledger, Court(store, pool, watch))
        return write_ledger(folder, replace(ledger, looks=[*ledger.looks, look]))


def _entered(ledger: Ledger, change: str, target: str, arm: Arm, court: Court) -> Ledger:
    """The ledger with this change as its open try: the one that was stopped, or a new one with a level of its own."""
    left = ledger.open
    if left is not None and (left.arm, left.against) == (arm.id, ledger.now_arm):
        return ledger
    if left is not None:
        ledger = ledger.with_try(replace(left, answer=LEFT))
    rate = court.rate(arm.id) if ledger.asked.tuning == "fit" else ledger.now_rate
    number = len(ledger.tries) + 1
    return ledger.with_try(Try(number, change, target, arm.id, ledger.now_arm, ledger.next_level(), rate))


def _tried(ledger: Ledger, made: Try, court: Court) -> Try:
    """Seed by seed, until there is an answer. A seed at which the baseline fails says nothing; one at which the change
    fails says enough."""
    first, sign = REIGN * (len(ledger.kept) + 1), ledger.metric.sign
    tried = 0
    while not made.decided:
        if tried == REIGN - 1:
            raise WorkFailed("the baseline fails at too many seeds")
        seeds = range(first + tried, first + tried + (FEWEST if not tried else 1))
        tried += len(seeds)
        wanted = [(arm, seed, rate) for seed in seeds
                  for arm, rate in ((made.against, ledger.now_rate), (made.arm, made.rate))]  # fmt: skip
        runs = court.runs("tune", *wanted)
        for seed, base, own in zip(seeds, runs[::2], runs[1::2]):
            if not own.finished:
                made = replace(made, answer=DISCARD, reason=f"it fails at seed {seed}: {own.reason}")
            elif base.finished and base.score is not None and own.score is not None:
                gain = round(sign * (base.score - own.score) / ledger.scale, 9)
                made = replace(made, seeds=[*made.seeds, seed], differences=[*made.differences, gain])
                made = weighed(ledger, made)
                court.watch.say(f"  seed {seed}: {gain:+.2%}")
            if made.decided:
                break
    return made


def weighed(ledger: Ledger, made: Try) -> Try:
    """The try with what its differences say so far."""
    x, at = made.differences, looks(ledger.most)
    n = len(x)
    if n < 2:
        return made
    against = round(
        log_evidence([ledger.asked.effect - each for each in x], ratio(ledger.asked.effect, ledger.spread)), 6
    )
    found = min(made.chance, float(f"{chance(x) / at[n]:.6g}")) if n in at else made.chance
    answer = OPEN
    if found <= made.level:
        answer = KEEP
    elif n >= FEWEST and against >= -math.log(MISS):
        answer = DISCARD
    elif n >= ledger.most:
        answer = UNDECIDED
    return replace(made, chance=found, evidence=against, answer=answer)
