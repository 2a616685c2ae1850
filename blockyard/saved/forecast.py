"""What comes after the end of a file of series, by a trained model, with intervals and with what needs no training."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from blockyard.core import numbers
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError, brief, missing
from blockyard.core.files import is_missing, write_whole
from blockyard.data.steps import Step
from blockyard.data.table import Table
from blockyard.decode.rollout import rollout
from blockyard.interop import load
from blockyard.model.find import find_model, flattered
from blockyard.model.model import Model
from blockyard.saved.forecasted import FIRST, Ahead, Forecasted
from blockyard.source import read
from blockyard.task._kept import Kept, naive
from blockyard.task._scaled import scaling, seen
from blockyard.task._strands import Strand, refuse_odd, strands

ROWS = 64  # windows of a forward
FAR = 20  # deviations of the stretch that trained


def forecast(
    model: str | os.PathLike[str], data: str | os.PathLike[str], *, steps: int | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Forecasted:  # fmt: skip
    """What comes after the end of a file of series, written as CSV and returned.

    model   the folder of a model that was trained on the task `forecast`, or OUT:ARM of a comparison
    data    a table with the columns that it was trained on, in steps of the same size, and at least as many rows as it
            looks back; more rows than numbers only where columns are known in advance
    steps   how many steps; default: as many as the model says. More are rolled out, without intervals: what it says is
            read as if it had come
    out     the CSV that is written; default: the name of the file, with -forecast.csv. Nothing else is replaced

    Intervals are calibrated by the errors of windows that the model did not train on. UsageError where the file does
    not fit the model.
    """
    path, source = find_model(os.fspath(model)), Path(data)
    if is_missing(path):
        raise missing(path)
    kept = Kept.read(path)
    steps = kept.horizon if steps is None else numbers.FORECAST(steps, "--steps")
    if steps > kept.horizon and kept.asked < len(kept.names):
        why = f"says {kept.horizon} steps of {kept.asked} of the {len(kept.names)} columns that it reads"
        raise UsageError(f"{model} {why}, so it cannot go on to {steps}; train one with forecast:horizon={steps}")
    target = Path(out) if out is not None else Path(f"{source.name.partition('.')[0]}-forecast.csv")
    _refuse_another(target)
    table = read([os.fspath(data)], ("table",))
    assert isinstance(table, Table)
    found, notes = _fitting(table, kept)
    windows, ends, scales = [], [], []
    for strand in found:
        end = _end(strand, kept)
        _check(table.name, strand, end, kept)
        offset, scale = _scales(strand, end, kept)
        shown = seen(((strand.values - offset) / scale).astype(np.float32), kept.horizon, kept.early)
        windows.append(shown[end - kept.length : end])
        _tell_far(table.name, strand.name, windows[-1], kept, notes)
        ends.append(end)
        scales.append((offset[: kept.asked], scale[: kept.asked]))
    _tell_few(str(model), kept, notes)
    notes += flattered(path)
    said, middles = _said(load(path).eval(), np.stack(windows), kept, steps)
    series = []
    for i, strand in enumerate(found):
        when = _times(strand, ends[i], kept.step, steps)
        series += _ahead(strand.name, kept, windows[i], said[i, :steps], middles[i, :steps], scales[i], when)
    answer = Forecasted(
        str(model), str(data), str(target), "step" if found[0].times is None else "time",
        _middle(kept), kept.levels, series, kept.below, kept.errors, notes,
    )  # fmt: skip
    try:
        write_whole(target, answer.to_csv().encode())
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}; name another file with --out") from None
    return answer


def _fitting(table: Table, kept: Kept) -> tuple[list[Strand], list[str]]:
    """The series of a table that are long enough, with the columns of the model; refused: a table that does not fit."""
    columns = [*kept.names, *([] if kept.column is None else [kept.column])]
    for name in columns:
        if name not in table.columns:
            there = brief(", ".join(table.columns))
            raise UsageError(f"{table.name} has no column {name}, which the model was trained on; it has {there}")
    for name in kept.names:
        refuse_odd(table, name)
        if table.columns[name].dtype.kind != "f":
            raise UsageError(
                f"{table.name}: column {name} holds no numbers, and the model was trained on numbers there"
            )
    found, step = strands(table, kept.names, kept.column)
    if kept.step is not None and step is None:
        raise UsageError(
            f"{table.name} does not say how far apart its rows are, and the model was trained on {kept.step}"
        )
    if kept.step is not None and step is not None and not step.like(kept.step):
        raise UsageError(f"{table.name} has a row every {step}, and the model was trained on rows every {kept.step}")
    notes = list(table.notes)
    more = [name for name in table.numbers() if name not in columns]
    if more:
        notes.append(f"{table.name}: columns that the model was not trained on are not read: {brief(', '.join(more))}")
    uneven, added = sum(strand.uneven for strand in found), sum(strand.added for strand in found)
    if uneven:
        notes.append(
            f"{table.name}: {uneven} rows do not follow the one before after {step}; they are taken as they stand"
        )
    if added:
        notes.append(f"{table.name}: {added} rows are missing and are put in as empty")
    enough = [strand for strand in found if _end(strand, kept) >= kept.length]
    if not enough:
        most = max(_end(strand, kept) for strand in found)
        raise UsageError(f"{table.name} has {most} rows of numbers, and the model looks {kept.length} back")
    short = [strand.name for strand in found if strand not in enough]
    if short:
        notes.append(f"{table.name}: shorter than {kept.length} rows, left out: {brief(', '.join(short))}")
    new = [strand.name for strand in enough if strand.name not in kept.series]
    if new:
        why = "the model was not trained on them; each is scaled by what stands in the file"
        notes.append(f"{table.name}: new series: {brief(', '.join(new))}: {why}")
    return enough, notes


def _end(strand: Strand, kept: Kept) -> int:
    """The row behind the last one with a number to go on from; what is known in advance goes on behind it."""
    known = np.flatnonzero(np.isfinite(strand.values[:, : kept.asked]).any(1))
    return int(known[-1]) + 1 if len(known) else 0


def _check(name: str, strand: Strand, end: int, kept: Kept) -> None:
    """Refuse a series that lacks what the model reads: a number in its last window, what is known in advance."""
    whose, inner = f" of {strand.name}" if strand.name else "", len(kept.names) - kept.early
    there = np.isfinite(strand.values[end : end + kept.horizon, inner:]).sum(0)
    if (there < kept.horizon).any():
        at = int((there < kept.horizon).argmax())
        raise UsageError(
            f"{name}: column {kept.names[inner + at]}{whose} is known in advance, and has {there[at]} of "
            f"{kept.horizon} numbers behind row {end}, the last to go on from; add rows with it, other cells empty"
        )
    empty = np.isfinite(strand.values[end - kept.length : end, : kept.asked]).sum(0) == 0
    if empty.any():
        column = kept.names[int(empty.argmax())]
        rows = f"rows {end - kept.length + 1} to {end}"
        raise UsageError(f"{name}: column {column}{whose} has no number in {rows}, which the model reads")


def _scales(strand: Strand, end: int, kept: Kept) -> tuple[np.ndarray, np.ndarray]:
    """(C,) offset and scale of a series: those it was trained with, or by what the file holds of a new one."""
    if strand.name not in kept.series:
        return scaling(strand.values[:end])
    offset, scale = (np.array(each) for each in kept.series[strand.name])
    return offset, scale


def _tell_far(name: str, strand: str, window: np.ndarray, kept: Kept, notes: list[str]) -> None:
    """Say where a window is far from all that the model was trained on: another unit, another world."""
    away = abs(window[:, : kept.asked]).max(0)
    if (away > FAR).any():
        column, whose = kept.names[int(away.argmax())], f" of {strand}" if strand else ""
        what = f"column {column}{whose} is {away.max():.3g} deviations away from its mean where the model was trained"
        notes.append(f"{name}: {what}; is it in the same unit?")


def _said(model: Model, windows: np.ndarray, kept: Kept, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,H,K,Q) calibrated quantiles and (n,H,K) the mean or the median, of windows (n,L,C), on scaled columns.

    Where more steps are asked than the model says, their quantiles are not known.
    """
    quantiles, middles = list[np.ndarray](), list[np.ndarray]()
    middle = int(np.argmin([abs(level - 0.5) for level in kept.levels]))
    for first in range(0, len(windows), ROWS):
        rows = torch.from_numpy(windows[first : first + ROWS])
        with torch.no_grad():
            said = model(Batch(rows)).prediction
        point = said["forecast"].double().numpy()
        each = (
            said["quantiles"].double().numpy() if kept.quantiles else np.repeat(point[..., None], len(kept.levels), -1)
        )
        whole = kept.calibrated(each)
        point = whole[..., middle] if kept.quantiles else point
        if steps > kept.horizon:
            more = rollout(model, rows, steps).double().numpy()[:, kept.horizon :]
            point = np.concatenate([point, more], 1)
            whole = np.concatenate([whole, np.full((*more.shape, len(kept.levels)), np.nan)], 1)
        quantiles.append(whole)
        middles.append(point)
    return np.concatenate(quantiles), np.concatenate(middles)


def _ahead(
    name: str, kept: Kept, window: np.ndarray, quantiles: np.ndarray, middle: np.ndarray,
    scales: tuple[np.ndarray, np.ndarray], times: Sequence[str],
) -> list[Ahead]:  # fmt: skip
    """What comes of each column of a series, in its own units."""
    offset, scale = scales
    asked = replace(kept, horizon=len(times))
    references = {each: say(window[None])[0] for each, say in naive(asked, kept.season).items()}
    found = []
    for k, column in enumerate(kept.names[: kept.asked]):
        label = column if not name else name if kept.asked == 1 else f"{name}:{column}"

        def plain(values: np.ndarray, k: int = k) -> list[float]:
            return (values.astype(np.float64) * scale[k] + offset[k]).tolist()

        levels = {f"{level:g}": _known(plain(quantiles[:, k, i])) for i, level in enumerate(kept.levels)}
        beside = {each: plain(values[:, k]) for each, values in references.items()}
        found.append(Ahead(label, list(times), plain(middle[:, k]), levels, beside))
    return found


def _middle(kept: Kept) -> str:
    """What the middle of an interval is: the level nearest to the median need not be the median."""
    return "mean" if not kept.quantiles else "median" if 0.5 in kept.levels else "middle"


def _tell_few(model: str, kept: Kept, notes: list[str]) -> None:
    """Say where fewer windows calibrate a level than it takes: one error in so many has to lie beyond it."""
    far = min(min(level, 1 - level) for level in kept.levels)
    if far * (kept.windows + 1) < 1 - 1e-9:
        few = f"{kept.windows} windows calibrate its intervals, and the widest takes {int(np.ceil(1 / far - 1e-9)) - 1}"
        notes.append(f"{model}: {few}: fewer numbers will lie in it than it says")


def _known(values: list[float]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values]


def _times(strand: Strand, end: int, step: Step | None, count: int) -> list[str]:
    """When the steps ahead are, as words; their numbers where the table does not say when."""
    if strand.times is None or len(strand.times) < 2:
        return [str(i) for i in range(1, count + 1)]
    own = step or Step.of(strand.times)
    assert own is not None, "rising times have a step"
    times = own.after(strand.times[end - 1], count)
    if (times == times.astype("M8[D]")).all() and strand.times[end - 1] == strand.times[end - 1].astype("M8[D]"):
        return [str(each.astype("M8[D]")) for each in times]
    said = [str(each).replace("T", " ").removesuffix(".000000") for each in times]
    return [each.removesuffix(":00") for each in said] if all(each.endswith(":00") for each in said) else said


def _refuse_another(path: Path) -> None:
    """Refuse to write where something stands that is no forecast."""
    try:
        if not path.exists():
            return
    except OSError as error:  # a name that is too long
        raise UsageError(f"cannot write {path}: {error.strerror}; name another file with --out") from None
    try:
        with open(path, encoding="utf-8") as file:
            head = file.readline(200).strip().split(",")
    except (OSError, UnicodeDecodeError):
        head = []
    if tuple(head[:3]) not in FIRST:
        raise UsageError(f"{path} exists and is no forecast; name another file with --out")
