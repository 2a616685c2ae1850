"""Which position scheme still works beyond the length it was trained at?

Source   none    Family  pages
Claim    schemes that penalise distance keep their loss far beyond the training length, rotary and absolute ones do not;
         what stretches rotary positions after training saves some of it, and a window most
Differs  sixty thousand parameters in the body of llama; text in windows, copying and recall each at a quarter to
         sixteen times the training length; stretched schemes are the trained rotary model, changed
"""

import math
from collections.abc import Mapping, Sequence

from blockyard.compare.documents import ArmReport, Report
from blockyard.compare.report.figures import indices
from blockyard.compare.report.sheet import Picture, Sheet, Table
from blockyard.study._base import Finding, Prediction, Race, Study, better_at, by_seed
from blockyard.study._pictures import Axes, Curve, frames

REACH = (0.25, 0.5, 1, 2, 4, 8, 16)
SHORT = 64  # tokens of a row of training, in text
SCORES = ("none", "rope", "partial_rope", "xpos", "alibi", "t5", "kerple_log", "kerple_power", "fire", "cope",
          "harmonic")  # fmt: skip
ENTERS = ("learned", "sinusoidal")
AFTER = ("interpolated", "ntk", "dynamic_ntk", "yarn", "capped")
BODY = "llama:heads=4"  # penalties by distance differ from head to head: one or two heads would hardly have any
ARMS = (
    *(f"{name}={BODY},position={name}" for name in SCORES),
    *(f"{name}={BODY},position=none,stem.position={name}" for name in ENTERS),
    *(f"rope_{name}={BODY}|swap_position:position={name}" for name in AFTER),
    f"rope_lambda={BODY}|lambda_shape:window={SHORT},sinks=4",
)
TASKS = {"copying": "copy:count=8,letters=10,offset=0", "recall": "mqar:pairs=4,length=32"}


def keeps(race: str, arm: str, length: int, trained: int, most: float) -> Prediction:
    """At a length the score of an arm is at most so much above that at the training length, in every seed."""

    def judge(result: Report) -> Finding:
        seeds = [each for each in result.arm(arm).lengths if each]
        ends = [(each.get(str(length)), each.get(str(trained))) for each in seeds]
        rises = [far - near for far, near in ends if far is not None and near is not None]
        return by_seed(rises, lambda rise: rise <= most, most)

    return Prediction(f"{race}: {arm} at {length} is at most {most:g} above {trained}", race, judge)


def page(reports: Mapping[str, Report]) -> Sheet:
    """The score over lengths of every scheme, a frame each, in text and in both tasks."""
    pictures = []
    for name, report in reports.items():
        look = indices(report)
        trained = report.plan.same.length
        curves = {arm.name: [Curve(arm.name, look[arm.name], _points(arm, trained))] for arm in _by_far(report)}
        best = min(y for of in curves.values() for curve in of for _, y in curve.points if y is not None)
        most = 1.5 * best if name == "text" else None
        axes = Axes("length in units of that of training", report.metric.unit, most=most)
        svg = frames(name, f"{name.capitalize()} by length", axes, curves)
        about = f"Trained at {trained} tokens, read at a quarter to sixteen times that; the best at the longest first."
        pictures.append(Picture(name, f"{name.capitalize()}: {report.metric.name} by length", about, svg))
    asked = "Which position scheme still works beyond the length it was trained at?"
    return Sheet("Length", asked, pictures, _table(reports))


def _points(arm: ArmReport, trained: int) -> Sequence[tuple[float, float | None]]:
    """The mean over seeds at every length that any seed was read at, in units of the training length."""
    read = [each for each in arm.lengths if each]
    at = sorted({int(length) for each in read for length in each})
    found = [(length, [each.get(str(length)) for each in read]) for length in at]
    return [(length / trained, None if None in of else sum(y for y in of if y) / len(of)) for length, of in found]


def _by_far(report: Report) -> list[ArmReport]:
    """The arms, the best at the longest length first; what cannot go there stands last."""

    def far(arm: ArmReport) -> float:
        points = _points(arm, report.plan.same.length)
        return math.inf if not points or points[-1][1] is None else points[-1][1]

    return sorted(report.arms, key=lambda arm: (far(arm), arm.name))


def _table(reports: Mapping[str, Report]) -> Table:
    """Of every scheme the score at the training length, at four times and at the longest that was read."""
    text = reports["text"]
    head = ["scheme", *(f"{race}, {at}" for race in reports for at in ("trained", "4 times", "longest"))]
    rows = []
    for arm in _by_far(text):
        cells = []
        for report in reports.values():
            points = dict(_points(report.arm(arm.name), report.plan.same.length))
            far = max(points, default=0.0)
            cells += [_cell(points.get(at)) for at in (1.0, 4.0, far)]
        rows.append([arm.name, *cells])
    return Table(head, rows)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def study() -> Study:
    text = {"params": "60k", "tokens": "200k", "length": SHORT, "seeds": 2, "tuning": "none", "reach": REACH}
    task = {"params": "60k", "tokens": "200k", "batch": 64, "seeds": 2, "tuning": "none", "reach": REACH}
    return Study(
        races=(
            Race("text", ARMS, options=text),
            *(Race(name, ARMS, task=spelt, options=task) for name, spelt in TASKS.items()),
        ),
        predictions=(
            keeps("text", "alibi", 16 * SHORT, SHORT, 0.1),
            better_at("text", 16 * SHORT, "alibi", "rope"),
            better_at("text", 16 * SHORT, "rope_lambda", "rope"),
            better_at("text", 4 * SHORT, "rope_dynamic_ntk", "rope"),
        ),
        page=page,
    )
