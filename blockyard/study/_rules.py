"""The matrix of rules: which architecture learns which, and how far beyond the length that it trained at.

A cell is the share of the way from knowing nothing to the rule itself: 0 is the best that needs no rule (chance, the
commonest answer, the mean), 1 the task's own oracle. Figures behind it stay those of the comparison, with their seeds
and verdicts.
"""

from collections.abc import Mapping, Sequence

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.report.figures import Canvas, indices, label
from blockyard.compare.report.sheet import Picture, Sheet, Table
from blockyard.study._base import Prediction, Race, Study, better
from blockyard.study._pictures import Axes, Curve, frames
from blockyard.study._shown import asked

RULES = {
    "copying": "copy:count=8,letters=8",
    "recall": "mqar:pairs=4,length=32",
    "sorting": "sort:count=8,letters=16",
    "parity": "parity:length=24",
    "modular arithmetic": "modular_arithmetic:modulus=3,length=9",
    "groups": "group_word:group=S3,length=16",
    "brackets": "modular_brackets:numbers=6,modulus=5",
    "adding up": "modular_sum",
    "multiplication": "multiplication:digits=2,answer=reversed",
    "counting": "counting:count=16",
    "derivations": "cot_arithmetic:modulus=5,operators=2,trace=True",
    "graph search": "graph_search:vertices=8",
    "cellular automata": "rule110:size=12",
    "regression": "in_context:family=dense,dim=2,points=8",
    "Boolean functions": "boolean:function=conjunction,dim=6",
}
KNOWS_NOTHING = {"regression": "zero", "Boolean functions": "commonest"}  # where other references learn in context
ARMS = ("llama", "gla", "deltanet=deltanet:beta_max=2", "mamba2", "mamba2_hybrid")
CELL, TALL, LEFT, TOP = 96.0, 30.0, 170.0, 60.0  # pixels of a cell, and of the margins


def rules_study(rows: int, seeds: int) -> Study:
    """The matrix with so many examples a run, whatever the length of a rule's."""

    def race(name: str, task: str) -> Race:
        options = {"params": "60k", "tokens": rows * asked(task).length, "batch": 64, "seeds": seeds, "tuning": "none"}
        return Race(name, ARMS, task=task, options=options)

    races = tuple(race(name, task) for name, task in RULES.items())
    predictions: tuple[Prediction, ...] = (
        better("recall", "llama", "gla"),
        better("copying", "llama", "mamba2"),
        better("groups", "deltanet", "gla"),
        better("parity", "deltanet", "llama"),
        better("regression", "llama", "gla"),
    )
    return Study(races=races, predictions=predictions, page=page)


def ends(rule: str, report: Report) -> tuple[float, float]:
    """The scores of who knows nothing and of who knows the rule: the best reference that needs none, and the oracle."""
    known = {name: score for name, score in report.references.items() if score is not None}
    best = known.pop("oracle")
    if rule in KNOWS_NOTHING:
        return known[KNOWS_NOTHING[rule]], best
    return (min if report.metric.sign > 0 else max)(known.values()), best


def share(score: float | None, ends: tuple[float, float]) -> float | None:
    """The way from nothing to the rule that a score has gone; at least 0, none where nothing is known."""
    nothing, best = ends
    return None if score is None or nothing == best else max(0.0, (nothing - score) / (nothing - best))


def page(reports: Mapping[str, Report]) -> Sheet:
    """The matrix, every rule by length, and the figures."""
    arms = [arm.name for arm in next(iter(reports.values())).arms]
    known = {rule: ends(rule, report) for rule, report in reports.items()}
    arms.sort(key=lambda name: -sum(share(reports[rule].arm(name).score.mean, known[rule]) or 0 for rule in reports))
    about = "The share of the way from knowing nothing (0) to the rule (1), the mean of the seeds."
    pictures = [
        Picture("matrix", "Architectures and rules", about, _matrix(reports, arms, known)),
        Picture("by-length", "Beyond the length of training", _FAR, _by_length(reports, arms, known)),
    ]
    rows = [
        [rule, *(_cell(report.arm(arm)) for arm in arms), *map(_number, known[rule])]
        for rule, report in reports.items()
    ]
    table = Table(["rule", *arms, "nothing", "rule"], rows, about="Mean score of the seeds and their range.")
    return Sheet("The matrix of rules", "Which rules does an architecture learn?", pictures, table)


_FAR = (
    "The same share at the length of training and at twice and four times that, by what nothing and the rule score at "
    "that of training: of rules that make no error."
)
Ends = Mapping[str, tuple[float, float]]


def _matrix(reports: Mapping[str, Report], arms: Sequence[str], known: Ends) -> str:
    width, height = LEFT + CELL * len(arms), TOP + TALL * len(reports)
    about = "A row is a rule, a column an architecture; the darker, the nearer to the rule."
    canvas = Canvas("matrix", "Architectures and rules", about, width, height, (LEFT, TOP, width, height))
    for column, arm in enumerate(arms):
        canvas.text(LEFT + CELL * (column + 0.5), TOP - 12, arm, "head", "middle")
    for row, (rule, report) in enumerate(reports.items()):
        y = TOP + TALL * row
        canvas.text(LEFT - 10, y + TALL / 2 + 4, rule, "", "end")
        for column, arm in enumerate(arms):
            found = share(report.arm(arm).score.mean, known[rule])
            canvas.parts.append(_square(LEFT + CELL * column, y, found))
    return canvas.svg()


def _square(x: float, y: float, value: float | None) -> str:
    deep = 0.0 if value is None else min(1.0, value)
    words = "–" if value is None else f"{value:.2f}"
    return (
        f'<g class="c0"><rect class="mark" x="{x + 1:g}" y="{y + 1:g}" width="{CELL - 2:g}" height="{TALL - 2:g}" '
        f'rx="3" fill-opacity="{0.05 + 0.5 * deep:.2f}" stroke="none"/></g>'
        f"{label(x + CELL / 2, y + TALL / 2 + 4, words, 'tick', 'middle')}"
    )


def _by_length(reports: Mapping[str, Report], arms: Sequence[str], known: Ends) -> str:
    curves = {}
    for rule, report in reports.items():
        if known[rule][1] > 0:
            continue  # who learns in context errs less the more is shown: the rule itself is another at every length
        look = indices(report)
        points = {arm: _points(report.arm(arm), known[rule], report.plan.same.length) for arm in arms}
        curves[rule] = [Curve(arm, look[arm], points[arm]) for arm in arms]
    return frames(
        "by-length", "Beyond the length of training", Axes("length in units of that of training", "share"), curves
    )


def _points(arm: ArmReport, ends: tuple[float, float], trained: int) -> list[tuple[float, float | None]]:
    """The mean over seeds at every length that was read; the exam's own length is that of training."""
    found: list[tuple[float, float | None]] = [(1.0, share(arm.score.mean, ends))]
    read = [each for each in arm.lengths if each]
    for length in sorted({int(n) for each in read for n in each} - {trained}):
        scores = [each.get(str(length)) for each in read]
        known = [score for score in scores if score is not None]
        found.append((length / trained, share(sum(known) / len(known), ends) if len(known) == len(scores) else None))
    return sorted(found)


def _cell(arm: ArmReport) -> str:
    known = [score for score in arm.score.per_seed if score is not None]
    return "–" if not known else f"{sum(known) / len(known):.3f} ({min(known):.3f} to {max(known):.3f})"


def _number(value: float) -> str:
    return f"{value:.3f}"
