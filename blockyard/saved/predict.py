"""What a trained model says of rows of a table, or of images, sounds and texts, whose answer is not known."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from blockyard.core.errors import UsageError, missing
from blockyard.core.files import is_missing, write_whole
from blockyard.data.rows import Held, Rows
from blockyard.data.table import Table
from blockyard.interop import load
from blockyard.interop.tokenizer import codec_of
from blockyard.model.find import find_model, flattered
from blockyard.model.model import Model
from blockyard.saved.fitting import fitting, in_units, trained_it, truth, word_columns
from blockyard.saved.predicted import FIRST, Predicted, chances
from blockyard.saved.things import pieces, things
from blockyard.source import read
from blockyard.task._predicts import Predicts, scores
from blockyard.train.loop import to_batch

ROWS = 64  # of a forward


def predict(
    model: str | os.PathLike[str], data: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None
) -> Predicted:
    """What a model says of rows without their answer, written as CSV and returned.

    model   the folder of a model that was trained on the task `table`, or on `classify` of images, sounds or texts; or
            OUT:ARM of a comparison
    data    a table with the columns that the model reads; a folder of files or a file; texts also as FILE:COLUMN
    out     the CSV that is written; default: the name of the data, with -predictions.csv. Nothing else is replaced

    A class comes with the chance of each, a number with quantiles that rows have calibrated which the model did not
    train on. Where a table holds answers too, they are not read, and the figures of these rows are given.
    UsageError where the data do not fit the model.
    """
    path, source = find_model(os.fspath(model)), os.fspath(data)
    if is_missing(path):
        raise missing(path)
    kept = Predicts.read(path)
    target = Path(out) if out is not None else Path(f"{Path(source).name.partition('.')[0]}-predictions.csv")
    _refuse_another(target)
    table, of = None, "row"
    if kept.things is None:
        table = _table(source, kept)
        cells, notes = fitting(table, kept)
        names, rows = [str(i) for i in range(1, len(cells) + 1)], Held({"tokens": cells})
    else:
        of, names, rows, notes = things(source, kept.things, codec_of(path))
    said = _said(load(path).eval(), rows, kept)
    if not np.isfinite(said).all():
        raise UsageError(f"{model} says what is no number: its weights are damaged, or training diverged")
    here, answered = dict[str, float | None](), 0
    if table is not None:
        known, answers, more = truth(table, kept)
        notes, answered = [*notes, *more], len(known)
        here = scores(kept.answer, said[known], answers) if answered else {}
        if answered and trained_it(table, kept):
            notes.append(f"{table.name} trained this model: its figures here say little of other rows")
    found = _told(said, kept)
    answer = Predicted(
        str(model), source, str(target), of, kept.target, names, *found, kept.tested, kept.blind, kept.below, here,
        answered, [*notes, *_few(str(model), kept), *flattered(path)],
    )  # fmt: skip
    try:
        write_whole(target, answer.to_csv().encode())
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}; name another file with --out") from None
    return answer


def _table(source: str, kept: Predicts) -> Table:
    """The table, its rows in the order of the file."""
    table = read([source], ("table",), words=word_columns(kept))
    assert isinstance(table, Table)
    if not table.turned:
        return table
    columns = {name: cells[::-1].copy() for name, cells in table.columns.items()}
    return Table(table.name, table.hash, columns, notes=table.notes[:-1])


def _said(model: Model, rows: Rows, kept: Predicts) -> np.ndarray:
    """(n,K) what the model says of the rows."""
    found = []
    for arrays in pieces(rows, ROWS):
        with torch.no_grad():
            said = model(model.blind(to_batch(arrays, "cpu"))).prediction
        found.append(said[kept.answer.says].double().numpy())
    return np.concatenate(found)


def _told(
    said: np.ndarray, kept: Predicts
) -> tuple[list[str], list[str], list[list[float]], dict[str, list[str]]]:  # fmt: skip
    """What the lines say, the classes, their chances (n,K), and the quantiles of a number."""
    if kept.classes:
        sure = chances(said)
        return [kept.classes[i] for i in sure.argmax(1).tolist()], kept.classes, sure.tolist(), {}
    quantiles = {f"{level:g}": in_units(said[:, 0] + each, kept) for level, each in zip(kept.levels, kept.added)}
    return in_units(said[:, 0], kept), [], [], quantiles


def _few(model: str, kept: Predicts) -> Sequence[str]:
    """What must be said where fewer rows calibrate a level than it takes: one error in so many has to lie beyond."""
    far = min((min(level, 1 - level) for level in kept.levels), default=1.0)
    if far * (kept.rows + 1) >= 1 - 1e-9:
        return ()
    least = int(np.ceil(1 / far - 1e-9)) - 1
    return (
        f"{model}: {kept.rows} rows calibrate its intervals, and the widest takes {least}: fewer numbers will lie in "
        "it than it says",
    )


def _refuse_another(path: Path) -> None:
    """Refuse to write where something stands that holds no predictions."""
    try:
        if not path.exists():
            return
    except OSError as error:  # a name that is too long
        raise UsageError(f"cannot write {path}: {error.strerror}; name another file with --out") from None
    try:
        with open(path, encoding="utf-8", newline="") as file:
            head = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        head = []
    if len(head) < 2 or head[0] not in FIRST[0] or not head[1].startswith(FIRST[1]):
        raise UsageError(f"{path} exists and holds no predictions; name another file with --out")
