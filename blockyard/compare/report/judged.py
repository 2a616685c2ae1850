"""The page of anybody's runs: what it fills in beside what every page of a verdict shows."""

import re
import shlex
from typing import Any

from markupsafe import Markup

from blockyard.compare.outcome import JudgedArm, Judgement
from blockyard.compare.report.figures import indices
from blockyard.compare.report.format import decimals, few, gap, interval, plural, signed, span, word
from blockyard.compare.report.terminal import rank
from blockyard.compare.report.text import DESIGNS, places
from blockyard.compare.report.verdicts import forest, glyph, matrix, pair_notes, strip

DENSE = 10  # with more arms the matrix shows signs, not figures
CHANCE = {"both": "runs and samples together", "samples": "the choice of samples"}


def judged_page(judged: Judgement) -> dict[str, Any]:
    """All that the template fills in."""
    digits, said, source = decimals(judged), places(judged), judged.source
    dense = len(judged.arms) > DENSE  # there arms without a verdict stand in the table alone
    shown = [arm for arm in judged.arms if arm.rank or not dense or arm.name == judged.first]
    names = [(arm.name, Markup(glyph(indices(judged)[arm.name]))) for arm in shown]
    what = "samples" if source.samples and source.design == "paired" else source.design
    return {
        "data": judged, "plan": None, "said": said, "names": names, "noun": "arm", "made": "a verdict",
        "title": few([arm.name for arm in judged.arms], 3), "facts": _facts(judged),
        "kicker": f"{plural(len(judged.arms), 'arm')} in {source.name}",
        "rows": [_row(judged, arm, digits) for arm in judged.arms], "first": judged.first,
        "margin": f"{judged.margin:.{digits}f}" if judged.margin else None,
        "forest": forest(judged, shown, "the baseline" if judged.against else "the first by its mean"),
        "matrix": matrix(judged, shown, digits) if judged.pairs and not judged.against else None,
        "dense": dense, "pair_notes": pair_notes(judged.pairs), "models": [],
        "samples": f"{source.samples:,}" if source.samples else None,
        "dots": any(len(arm.runs) > 1 for arm in judged.arms), "chance": CHANCE.get(what, "the spread of runs"),
        "further": [_further(judged, at, each) for at, each in enumerate(judged.further, start=2)],
        "command": _command(judged), "facts_of_source": _read(judged),
    }  # fmt: skip


def subfolder(at: int, metric: str) -> str:
    """The folder of the page of a further metric, which is the second, the third, ..."""
    return f"{at}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', metric)[:60]}"


def _further(judged: Judgement, at: int, other: Judgement) -> tuple[str, str, str]:
    name = other.metric.name
    return name, " ".join(places(other)["answer"]), f"{subfolder(at, name)}/report.html" if judged.report else ""


def _facts(judged: Judgement) -> list[tuple[str, str, str]]:
    """What was judged, in a few tiles."""
    source, counts = judged.source, [len(arm.runs) for arm in judged.arms]
    single = sum(arm.finished == 1 and arm.rank is None for arm in judged.arms)
    ways = {"unpaired": "no run is shared", "seeds": "seeds are shared", "both": "samples are shared"}
    tiles = [
        ("Table", source.name, f"{source.rows:,} rows"),
        ("Score", judged.metric.name, f"{judged.metric.better} is better"),
        ("Arms", str(len(judged.arms)), f"{single} of one run, without a verdict" if single else "all of them judged"),
        ("Runs", f"{source.runs:,}", f"{span(counts, str)} an arm"),
        ("Judged", "by differences" if source.design == "paired" else "by spread",
         ways.get(source.design, f"paired by {source.pairs}")),
    ]  # fmt: skip
    return tiles + ([("Samples", f"{source.samples:,}", "that every run has")] if source.samples else [])


def _row(judged: Judgement, arm: JudgedArm, digits: int) -> dict[str, Any]:
    """A row of the ranking."""
    scores = [x for other in judged.arms for x in other.score.per_seed if x is not None]
    index, mean, pair = indices(judged)[arm.name], arm.score.mean, gap(judged, arm.name, judged.first)
    said = "" if arm.name == judged.first else word(pair)
    return {
        "index": index, "glyph": Markup(glyph(index)), "name": arm.name, "letters": arm.letters,
        "candidate": arm.candidate and not judged.against, "rank": rank(arm, "–"),
        "mean": "–" if mean is None else f"{mean:.{digits}f}",
        "own": interval(arm.score.low, arm.score.high, digits).replace("+", ""),
        "strip": Markup(strip(arm, index, (min(scores), max(scores)))) if scores else "",
        "behind": signed(pair.difference, digits) if pair else "–",
        "interval": interval(pair.low, pair.high, digits) if pair else "",
        "said": said, "kind": said.partition(" ")[0].rstrip(","),
        "runs": f"{arm.finished} of {arm.finished + arm.failed}" if arm.failed else str(arm.finished),
        "failed": bool(arm.failed),
    }  # fmt: skip


def _command(judged: Judgement) -> list[str]:
    """The command line that asks for this verdict, in the pieces that are not to be torn apart."""
    source, scores = judged.source, [judged, *judged.further]
    parts = [["blockyard"], ["judge"], *([file] for file in source.files or ["TABLE"])]
    for role, name in source.columns.items():
        if role not in source.found and role != "score":
            parts.append([f"--{role}", name])
    parts.append(["--score", ",".join(each.metric.name for each in scores)])
    parts.append(["--better", ",".join(each.metric.better for each in scores)])
    parts += [["--margin", f"{source.margin:g}"], ["--alpha", f"{judged.alpha:g}"]]
    parts += [["--against", judged.against]] if judged.against else []
    return [shlex.join(part) for part in parts]


def _read(judged: Judgement) -> list[tuple[str, str]]:
    """How the table was read."""
    source = judged.source
    columns = [(f"column of {role}", name) for role, name in source.columns.items()]
    design = DESIGNS.get(source.design, f"Paired by {source.pairs}.")
    return [*columns, ("design", design), ("files", few(source.files, 6) if source.files else "in memory"),
            ("format", str(judged.format))]  # fmt: skip
