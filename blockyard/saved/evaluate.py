"""How well a trained model foretells a text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from blockyard.compare.run.job import Scoring, amounts
from blockyard.core import numbers
from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.data import load_text
from blockyard.data.corpus import load_whole
from blockyard.saved.open import open_model
from blockyard.task._text import text_exam, token_nats

ROWS = 16  # of a forward, at least


@dataclass(frozen=True)
class Evaluation(Document):
    """The loss of a text of so many bytes, read in windows of `length` tokens."""

    bits_per_byte: float
    bytes: int
    data: str
    length: int
    notes: list[str] = field(default_factory=list)


def evaluate(folder: str, data: Sequence[str] = (), length: int | None = None) -> Evaluation:
    """Bits per byte of a whole text under a trained model; without a text, of the built-in one's test part.

    folder   a model: ours, one of transformers, an adapter, or OUT:ARM of a comparison
    data     text files or folders                  length   tokens a window; None: as many as it was trained with
    """
    if length is not None:
        length = numbers.EVAL_LENGTH(length, "--length")
    model, words = open_model(folder)
    codec = words.codec
    model.require("causal", "scoring a text token by token")
    size = length or model.spec.get("length") or 128
    if data:
        (name, _, notes), split = load_whole(list(data), codec)
    else:
        corpus = load_text(None, codec=codec)
        name, notes, split = corpus.name, corpus.notes, corpus.test
    exam = text_exam(split, size, 1)
    value = float(exam.groups(amounts(model, token_nats, exam, Scoring(ROWS * size)))[0])
    count = round(float(exam.asked[0]) / math.log(2))
    if not math.isfinite(value):
        raise UsageError(f"{folder} scores {value}: its weights are damaged, or training diverged")
    return Evaluation(value, count, name, size, [*words.notes, *notes, *split.notes])
