"""What every page of a verdict shows of its arms and pairs: marks, dots of scores, differences, the matrix."""

from collections.abc import Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from blockyard.compare.outcome import ArmOutcome, Outcome, PairReport
from blockyard.compare.report import figures as pictures
from blockyard.compare.report.figures import COLOURS, indices, line, mark, scale
from blockyard.compare.report.format import Gap, gap, interval, signed, word

SIGNS = {"better": "+", "worse": "−", "equivalent": "=", "not": "·", "no": "", "identical": "="}


def glyph(index: int) -> str:
    """The mark of an arm, to stand beside its name in a table."""
    return (
        f'<svg class="glyph c{index % COLOURS}" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
        f"{mark(index, 7, 7, 5)}</svg>"
    )


def strip(arm: ArmOutcome, index: int, ends: tuple[float, float]) -> str:
    """A dot per seed and a tick at the mean, on the scale that all arms share."""
    losses, mean = [loss for loss in arm.score.per_seed if loss is not None], arm.score.mean
    if mean is None:
        return ""
    x = scale(ends, 4, 92, log=False, pad=0.04)
    said = ", ".join(f"{loss:.4f}" for loss in losses)
    dots = "".join(mark(index, x(loss), 9, 3.4) for loss in losses)
    tick = line([(x(mean), 1), (x(mean), 17)], "mean")
    return (
        f'<svg class="strip c{index % COLOURS}" viewBox="0 0 96 18" width="96" height="18" role="img">'
        f"<title>{escape(arm.name)}, per seed: {said}</title>{line([(2, 9), (94, 9)], 'grid')}{tick}{dots}</svg>"
    )


def forest(report: Outcome[Any], arms: Sequence[ArmOutcome], itself: str = "the first by its mean") -> Markup:
    """Differences of arms to the first, or the baseline, on wide pages and on narrow ones; `itself` is what it is."""
    first = report.first
    if len(arms) < 2 or report.arm(first).score.mean is None:
        return Markup("")
    gaps: list[tuple[Gap | None, str]] = []
    for arm in arms:
        pair = gap(report, arm.name, first)
        gaps.append((pair, itself if arm.name == first else word(pair) if pair else "no finished run"))
    wide, narrow = (pictures.forest(report, arms, gaps, narrow) for narrow in (False, True))
    return Markup(f'<div class="roomy">{wide}</div><div class="narrow">{narrow}</div>')


def pair_notes(pairs: list[PairReport]) -> list[str]:
    """What is remarkable about single pairs, said once where many share it."""
    of_note: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.note:
            of_note.setdefault(pair.note, []).append(f"{pair.a} and {pair.b}")
    return [f"{'; '.join(found) if len(found) <= 3 else f'{len(found)} of {len(pairs)} pairs'}: {note}."
            for note, found in of_note.items()]  # fmt: skip


def matrix(report: Outcome[Any], arms: Sequence[ArmOutcome], digits: int) -> list[dict[str, Any]]:
    """The verdict of every arm on every other one."""
    rows, index = [], indices(report)
    for arm in arms:
        cells = []
        for other in arms:
            pair = gap(report, arm.name, other.name)
            said = "" if other is arm else word(pair)
            about = f"{arm.name} against {other.name}: {said}"
            if pair and pair.low is not None:
                about += f", {interval(pair.low, pair.high, digits)}, p {pair.p:g}"
            figure = signed(pair.difference, digits) if pair else ""
            kind = "self" if other is arm else said.partition(" ")[0].rstrip(",")
            cells.append({"word": said, "figure": figure, "kind": kind, "about": about, "sign": SIGNS.get(kind, "")})
        rows.append({"name": arm.name, "glyph": Markup(glyph(index[arm.name])), "cells": cells})
    return rows
