"""Which of several trained models is better on the same samples, and how sure that is.

    a text    blocks of it (blocks.py), in bits per byte: models of any tokenizers
    tasks     the documents of tasks of lm-evaluation-harness (tasks.py), by every metric that is their mean

Each model is one run; the verdict is that of `blockyard judge` on the differences sample by sample, at `alpha` for all
pairs and metrics together. It is about these very models: what training again would change is not in it.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blockyard.compare.outcome import Judgement
from blockyard.compare.verdict import judge, keep
from blockyard.core import numbers
from blockyard.core.errors import UsageError, unknown
from blockyard.core.files import write_whole
from blockyard.interop.tokenizer import tokenizer
from blockyard.model.find import find_model
from blockyard.saved.blocks import block_scores, borders, token_costs, whole_text
from blockyard.saved.open import open_model
from blockyard.saved.tasks import EvalSettings, columns_of, run_tasks

SAMPLES, OWN = "samples.csv", b"model,sample,"  # and what it begins with
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Samples:
    """What every model scored on every sample.

    name     of what they are scored on                  rows    a model, a sample, its figures
    better   of every figure: lower or higher            notes   what must be said
    """

    name: str
    rows: list[dict[str, Any]]
    better: dict[str, str]
    notes: list[str]


def judge_models(
    models: Sequence[str], data: Sequence[str] = (), *, tasks: Sequence[str] = (), score: str | None = None,
    settings: EvalSettings | None = None, margin: float | str = 0.01, alpha: float | str = 0.05,
    against: str | None = None, out: str | Path | None = None, tell: Tell | None = None,
) -> Judgement:  # fmt: skip
    """Judge trained models by what they score on the same samples: `judge_models(["a", "b"], ["my.txt"])`.

    models    folders: of ours, of transformers, of adapters, or OUT:ARM of a comparison
    data      text files or folders, scored in bits per byte; none: the built-in text
    tasks     instead of a text: tasks of lm-evaluation-harness by name, YAML files or folders of them
    score     of the tasks only these metrics, with commas
    settings  tokens read at once, and how tasks are asked
    margin    the difference that matters, as a share of the score, or of all where the score is a share itself
    alpha     how often any verdict may err      against   judge every model against this one only
    out       a folder for samples.csv, result.json, report.txt, report.html       tell   is told what is done
    """
    models, asked = [str(each) for each in models], settings or EvalSettings()
    if len(models) < 2:
        raise UsageError(f"a verdict needs two models, {len(models)} given; name another one")
    places = [find_model(each).resolve() for each in models]
    if twice := next((each for each, place in zip(models, places) if places.count(place) > 1), None):
        raise UsageError(f"{twice} is named twice")
    if against is not None and against not in models:
        raise unknown("model", against, models)
    if tasks and data:
        raise UsageError("a text and tasks are two verdicts; leave out --data or --tasks")
    if score is not None and not tasks:
        raise UsageError("--score chooses among the metrics of tasks; a text is scored in bits per byte")
    level, least = numbers.ALPHA(alpha, "alpha"), numbers.MARGIN(margin, "margin")
    folder = None if out is None else _ready(Path(out))
    for each in models:  # a wrong folder is told before hours are spent on the others
        tokenizer(each)
    say = tell or (lambda _: None)
    found = _of_tasks(models, tasks, score, asked, say) if tasks else _of_text(models, data, asked, say)
    columns, table = list(found.better), found.rows
    source: Any = table
    if folder is not None:
        try:
            write_whole(folder / SAMPLES, _csv(table, ["model", "sample", *columns]))
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}; name another --out") from None
        source = [str(folder / SAMPLES)]
    judged = judge(
        source, arm="model", pair="sample", score=",".join(columns), better=",".join(found.better.values()),
        against=against, alpha=level, margin=least,
    )  # fmt: skip
    judged = replace(_named(judged, found), further=[_named(each, found) for each in judged.further])
    return judged if folder is None else keep(judged, folder)


def _named(judged: Judgement, found: Samples) -> Judgement:
    """The judgement of samples called by what they are, with what must be said of them."""
    return replace(judged, source=replace(judged.source, name=found.name, notes=[*judged.source.notes, *found.notes]))


def _ready(folder: Path) -> Path:
    """The folder of a verdict, which is there and is nobody else's."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = {each.name for each in folder.iterdir() if not each.name.startswith(".")}
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; name another --out") from None
    if others and not _ours(folder / SAMPLES):
        raise UsageError(f"{folder} holds something else ({min(others)}); name another --out, or an empty folder")
    return folder


def _ours(path: Path) -> bool:
    """Whether this is a table that a verdict left."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.readline(len(OWN)) == OWN


def _csv(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows([names, *([row.get(name) for name in names] for row in rows)])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _of_text(models: Sequence[str], data: Sequence[str], settings: EvalSettings, say: Tell) -> Samples:
    """Bits per byte of the blocks of a text; the longest window says how small a block may be."""
    text, costs, notes, widest, lengths = whole_text(data), [], [], 0.0, []
    for name in models:
        model, words = open_model(name)
        model.require("causal", "scoring a text token by token")
        length = settings.length or model.spec.get("length") or 128
        split = text.read_by(words.codec)
        widest = max(widest, length * split.bytes / max(1, len(split)))
        borders(text, widest)  # a text that is too short is told before anything is read
        try:
            costs.append(token_costs(model, split, length))
        except UsageError as error:
            raise UsageError(f"{name} {error}") from None
        lengths.append(length)
        notes += [f"{name}: {note}" for note in (*words.notes, *split.notes)]
        say(f"{name}: {costs[-1].bits.sum() / max(1, split.bytes - costs[-1].unasked):.4f} bits/byte")
    if len(set(lengths)) > 1:
        said = ", ".join(f"{name} {length}" for name, length in zip(models, lengths))
        notes.append(f"windows are as long as each model was trained on, in tokens ({said}); --length says one for all")
    scores = block_scores(costs, borders(text, widest))
    rows = [
        {"model": name, "sample": i, "bits_per_byte": float(value)}
        for name, own in zip(models, scores) for i, value in enumerate(own, 1)
    ]  # fmt: skip
    return Samples(text.name, rows, {"bits_per_byte": "lower"}, [*text.notes, *notes])


def _of_tasks(
    models: Sequence[str], tasks: Sequence[str], score: str | None, settings: EvalSettings, say: Tell
) -> Samples:  # fmt: skip
    """The scores of the documents of tasks."""
    done = []
    for name in models:
        done.append(run_tasks(name, tasks, settings))
        say(f"{name}: " + "; ".join(each.words for each in done[-1].scores))
    columns = columns_of(done, score)
    rows = [
        {"model": each.model, "sample": sample, **{name: own[name] for name in columns if name in own}}
        for each in done for sample, own in each.samples.items()
    ]  # fmt: skip
    notes = list(dict.fromkeys(note for each in done for note in each.notes))
    return Samples(", ".join(done[0].names), rows, columns, notes)
