"""The verdict on anybody's runs, by the statistics of the comparison: which arms can be told apart, and how sure.

    unpaired   arms that share no seeds: each has its own runs, plain means, the careful freedom of uneven counts
    seeds      arms that share seeds, as the arms of a comparison do
    paired     the same where the seeds tell (F test of a table of arms by seeds, 5%), or samples of one run of each:
               judged by the differences, seed by seed or sample by sample
    both       several runs with samples: the runs as seeds, the samples as the groups of a test text, 32 of them

What share of the seeds' part a run is is not known beforehand, so the table says it; simulated tables keep the bound
(docs/statistics.md). A score that is no number is a run that failed: an outcome, never a hole.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blockyard.compare.judge.power import seeds_for
from blockyard.compare.judge.spread import seeds_tell
from blockyard.compare.judge.statistics import ArmScore, Pair, Table, Verdicts, analyse
from blockyard.compare.outcome import JudgedArm, Judgement, PairReport, Score, SeedsNeeded, Source
from blockyard.compare.report.format import plural
from blockyard.core import numbers
from blockyard.core.errors import UsageError, unknown
from blockyard.runs import Measured, Roles, Rows, find_columns, measure, read_rows
from blockyard.runs._columns import direction, is_share
from blockyard.runs._design import natural
from blockyard.task._metric import Metric

GROUPS, FEWEST_GROUPS = 32, 8  # of samples, and with how few they are left out
TELLS = 0.05  # the chance below which shared seeds are believed to say something
MOST_ARMS = 200
UNPAIRED, SEEDS, PAIRED, BOTH = "unpaired", "seeds", "paired", "both"


def judge(
    table: Any, *, arm: str | None = None, seed: str | None = None, pair: str | None = None, score: str | None = None,
    group: str | None = None, weight: str | None = None, step: str | None = None, better: str | None = None,
    margin: float | str = 0.01, alpha: float | str = 0.05, against: str | None = None, out: str | Path | None = None,
) -> Judgement:  # fmt: skip
    """Judge anybody's runs: `judge("runs.csv", score="val_loss")`.

    table     files or folders (CSV, JSON lines, W&B, MLflow, TensorBoard, samples of lm-eval), a pandas or polars
              DataFrame, a list of dictionaries or a dictionary of lists
    arm       the column of what is compared; it and the others are found where their names are usual ones
    seed      the column that names the runs of an arm       pair    the column of samples that all arms have scored
    score     the column of figures, or several with commas: they share the error
    group     samples of one group count as one              weight  how much a sample counts, the same in all runs
    step      of the rows of a run the last step counts      better  lower or higher, for all scores or one for each
    margin    the difference that matters, as a share of the score         alpha    how often any verdict may err
    against   judge every arm against this one only          out     a folder for result.json, report.txt, report.html
    """
    wanted = {"arm": arm, "seed": seed, "pair": pair, "score": score, "group": group, "weight": weight, "step": step}
    rows, roles = find_columns(read_rows(table), wanted)
    if roles.weight and not (roles.pair or roles.group):
        raise UsageError("a weight says how much a sample counts; name the column of samples too, with --pair")
    level, share = numbers.ALPHA(alpha, "alpha"), numbers.MARGIN(margin, "margin")
    named = {role: name for role, name in wanted.items() if name}
    asked = _Asked(rows, roles, named, level, share, against)
    found = [_judged(asked, name, way) for name, way in zip(roles.scores, _ways(roles.scores, better))]
    judgement = replace(found[0], further=found[1:])
    return judgement if out is None else keep(judgement, Path(out))


def keep(judgement: Judgement, folder: Path) -> Judgement:
    """The judgement in a folder, the other metrics in folders below it; it comes back saying where it lies."""
    from blockyard.compare.report.judged import subfolder  # a page needs more than a verdict does
    from blockyard.compare.report.result import write

    try:
        further = [
            write(each, folder / subfolder(at, each.metric.name)) for at, each in enumerate(judgement.further, start=2)
        ]
        return write(replace(judgement, further=further), folder)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; name another --out") from None


@dataclass(frozen=True)
class _Asked:
    """What is the same for all metrics."""

    rows: Rows
    roles: Roles
    named: dict[str, str]
    alpha: float
    margin: float
    against: str | None

    @property
    def metrics(self) -> int:
        return len(self.roles.scores)


def _ways(scores: Sequence[str], better: str | None) -> list[str]:
    """Which way is better, for every score."""
    said = [word.strip().lower() for word in better.split(",")] if better else []
    for word in said:
        if word not in ("lower", "higher"):
            raise unknown("direction", word, ("lower", "higher"))
    if said and len(said) not in (1, len(scores)):
        raise UsageError(f"--better names {len(said)} directions for {plural(len(scores), 'score')}; give one, or all")
    ways = (said * len(scores) if len(said) == 1 else said) or [direction(score) or "" for score in scores]
    for score, way in zip(scores, ways):
        if not way:
            raise UsageError(f"is a lower or a higher {score} better? say --better lower or --better higher")
    return ways


def _judged(asked: _Asked, score: str, better: str) -> Judgement:
    """The judgement of one metric."""
    measured = measure(asked.rows, asked.roles, score)
    arms = measured.arms
    if len(arms) < 2:
        raise UsageError(
            f"there is one arm only, {arms[0]} (column {asked.roles.arm!r}); a verdict needs two: name another --arm"
        )
    if len(arms) > MOST_ARMS:
        raise UsageError(
            f"column {asked.roles.arm!r} has {len(arms)} arms, at most {MOST_ARMS} can be judged; is it --arm?"
        )
    if asked.against is not None and asked.against not in arms:
        raise unknown("arm", asked.against, arms)
    metric = _metric(score, better, measured)
    made = _tabled(measured, metric.sign, metric.share, asked.roles)
    margin = asked.margin * (1.0 if metric.share else made.level)
    verdicts = analyse(made.table, alpha=asked.alpha, margin=margin, looks=asked.metrics, against=asked.against)
    notes = measured.notes + made.notes
    source = Source(
        name=_name(asked.rows.files), files=asked.rows.files, rows=len(asked.rows.rows),
        columns=asked.roles.columns() | asked.named | {"score": score}, found=list(asked.roles.found),
        design=made.design, pairs=made.pairs, runs=len(measured.scores) + len(measured.failed), samples=made.samples,
        margin=asked.margin, metrics=asked.metrics, notes=notes,
    )  # fmt: skip
    needed = None if made.samples and made.design == PAIRED else _seeds(verdicts)
    return Judgement(
        source=source, metric=metric, alpha=asked.alpha, margin=verdicts.margin, looks=1, seeds=made.seeds,
        against=asked.against, arms=[_arm(each, measured, made.table, metric.sign) for each in verdicts.arms],
        pairs=[_pair(each, metric.sign) for each in verdicts.pairs], needed_difference=verdicts.needed_difference,
        detectable=verdicts.detectable, seeds_for_margin=needed, noisiest=verdicts.noisiest,
        spread_ratio=verdicts.spread_ratio,
    )  # fmt: skip


def _name(files: Sequence[str]) -> str:
    """How the table is called."""
    names = [Path(file).name for file in files]
    return "a table" if not names else names[0] if len(names) == 1 else f"{len(names)} files"


def _metric(score: str, better: str, measured: Measured) -> Metric:
    """The metric, bounded where it is a share of answers: margins are shares then, too."""
    values = [*measured.scores.values(), *(x for own in measured.samples.values() for x in own.values())]
    share = is_share(score) and all(0 <= value <= 1 for value in values)
    return Metric(score, score, better, 0.0 if share else None, 1.0 if share else None)


@dataclass(frozen=True)
class _Tabled:
    """The table of losses, and what kind it is. `level` is the mean size of a score."""

    table: Table
    design: str
    pairs: str
    seeds: list[str]
    samples: int | None
    level: float
    notes: list[str]


def _tabled(measured: Measured, sign: int, share: bool, roles: Roles) -> _Tabled:
    means = [np.mean([x for (of, _), x in measured.scores.items() if of == arm] or [0.0]) for arm in measured.arms]
    level = abs(float(np.mean(means)))
    if not measured.samples:
        return _of_runs(measured, sign, share, level)
    kept, notes = _common(measured, roles)
    what = roles.group or roles.pair or "sample"
    if all(len(measured.runs(arm)) == 1 for arm in measured.arms):
        if measured.weights:
            raise UsageError("samples of one run an arm are judged one by one, all alike; leave --weight out")
        losses = {(arm, i): np.array([sign * own[unit]]) for (arm, _), own in measured.samples.items()
                  for i, unit in enumerate(kept)}  # fmt: skip
        bases = dict.fromkeys(measured.arms, "the same samples")
        table = Table(measured.arms, range(len(kept)), losses, np.ones(1), _failed(measured, {}), share, bases)
        return _Tabled(table, PAIRED, what, [], len(kept), level, notes)
    runs = _of_runs(measured, sign, share, level)
    cuts = np.array_split(np.arange(len(kept)), min(GROUPS, len(kept)))
    if len(cuts) < FEWEST_GROUPS:
        notes.append(f"{plural(len(kept), 'sample')} are too few to say what others would change: they are not counted")
        cuts = [np.arange(len(kept))]
    named, losses = dict(enumerate(_names(measured))), {}
    each = np.array([measured.weights.get(unit, 1.0) for unit in kept])  # how much a sample counts
    for arm, seed in runs.table.losses:
        own = measured.samples[arm, named[seed]]
        scores = np.array([sign * own[unit] for unit in kept])
        losses[arm, seed] = np.array([np.average(scores[cut], weights=each[cut]) for cut in cuts])
    weights = np.array([each[cut].sum() for cut in cuts]) / each.sum()
    table = replace(runs.table, losses=losses, weights=weights)
    design = runs.design if len(cuts) == 1 else BOTH
    return replace(runs, table=table, design=design, pairs=what, samples=len(kept), notes=notes + runs.notes)


def _names(measured: Measured) -> list[str]:
    """The names of runs, each once."""
    return sorted({run for _, run in (*measured.scores, *measured.failed)}, key=natural)


def _failed(measured: Measured, numbered: Mapping[str, int]) -> set[tuple[str, int]]:
    return {(arm, numbered.get(run, 0)) for arm, run in measured.failed}


def _of_runs(measured: Measured, sign: int, share: bool, level: float) -> _Tabled:
    """The table of a score a run: of arms that share seeds, or of arms that share nothing."""
    names = _names(measured)
    numbered = {name: i for i, name in enumerate(names)}
    losses = {(arm, numbered[run]): np.array([sign * score]) for (arm, run), score in measured.scores.items()}
    table = Table(measured.arms, range(len(names)), losses, np.ones(1), _failed(measured, numbered), share)
    own = {arm: set(by) for arm, by in table.finished.items() if len(by) > 1}
    alike = all(len(a & b) >= 2 for a, b in itertools.combinations(own.values(), 2))
    if not measured.named or len(own) < 2 or not alike:
        return _Tabled(replace(table, unpaired=True), UNPAIRED, "", [], None, level, [])
    shared = sorted(set.intersection(*own.values()))
    seeds = [names[seed] for seed in shared]
    whole = all(len(seeds_of) == len(shared) for seeds_of in own.values())
    runs = np.array([[table.finished[arm][seed][0] for seed in shared] for arm in own])
    if whole and seeds_tell(runs) < TELLS:
        bases = dict.fromkeys(measured.arms, "the same seeds")
        return _Tabled(replace(table, bases=bases), PAIRED, "seeds", seeds, None, level, [])
    return _Tabled(table, SEEDS, "seeds", seeds, None, level, [])


def _common(measured: Measured, roles: Roles) -> tuple[list[str], list[str]]:
    """The samples that every run has, in their order, and what is to be said of the others."""
    every = list(dict.fromkeys(unit for own in measured.samples.values() for unit in own))
    common = set.intersection(*(set(own) for own in measured.samples.values()))
    kept = sorted((unit for unit in every if unit in common), key=natural)
    if len(kept) < 2:
        raise UsageError(
            f"the arms share {plural(len(kept), 'sample')} of {len(every):,} (column {roles.group or roles.pair!r}); "
            "without samples that all of them scored they cannot be paired"
        )
    missing = len(every) - len(kept)
    return kept, [f"{missing:,} of {len(every):,} samples are not those of every run: left out"] if missing else []


def _turned(sign: int, value: float | None) -> float | None:
    return None if value is None else sign * value + 0.0


def _pair(pair: Pair, sign: int) -> PairReport:
    low, high = (pair.low, pair.high) if sign > 0 else (pair.high, pair.low)
    note = pair.note.replace("fewer than 2 finished runs", "one run has no spread")
    ends = _turned(sign, low), _turned(sign, high)
    return PairReport(pair.a, pair.b, *ends, sign * pair.difference + 0.0, pair.p, pair.resolved, pair.verdict, note)


def _arm(arm: ArmScore, measured: Measured, table: Table, sign: int) -> JudgedArm:
    names = measured.runs(arm.name)
    if len(table.finished[arm.name]) < 2:  # out of the family, where it has no place
        arm = replace(arm, rank=None, letters="", candidate=False)
    scores = [measured.scores.get((arm.name, run)) for run in names]
    low, high = (arm.low, arm.high) if sign > 0 else (arm.high, arm.low)
    finished = sum(score is not None for score in scores)
    return JudgedArm(
        name=arm.name, score=Score(_turned(sign, low), _turned(sign, high), _turned(sign, arm.mean), scores),
        rank=list(arm.rank) if arm.rank else None, letters=arm.letters, candidate=arm.candidate, finished=finished,
        failed=arm.failed, failure_interval=arm.failure_interval,
        status="finished" if finished == len(names) else "failed" if not finished else "partly failed", runs=names,
        reasons=sorted({why for (of, _), why in measured.failed.items() if of == arm.name}),
    )  # fmt: skip


def _seeds(verdicts: Verdicts) -> SeedsNeeded | None:
    if verdicts.noise is None or not verdicts.margin:
        return None
    needed = seeds_for(verdicts.margin, verdicts.noise)
    return SeedsNeeded(needed.low, needed.high, needed.more_text)
