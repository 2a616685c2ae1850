"""The model of a folder once more, as transforms make it: fitted, where they need it, to training text."""

from collections.abc import Sequence
from dataclasses import dataclass

from blockyard.compare.documents import Became
from blockyard.compare.plan.after import SHOWN
from blockyard.compare.run.after import plain
from blockyard.core.batch import Batch
from blockyard.core.document import Document
from blockyard.core.errors import UsageError
from blockyard.data import load_text
from blockyard.data.tokens import Codec
from blockyard.interop import load
from blockyard.interop.tokenizer import tokenizer, usable_files
from blockyard.model.count import numbers, stored_bytes
from blockyard.model.find import find_model
from blockyard.model.model import Model
from blockyard.task._text import Text
from blockyard.train.loop import to_batch
from blockyard.transform._base import make_transform

ROWS, LENGTH = 16, 128  # of a batch that is shown


@dataclass(frozen=True)
class Remade(Document):
    """What became of a model: what every transform says, its numbers and its bytes now, and its bytes before."""

    model: str
    steps: list[Became]
    params: int
    model_bytes: int
    bytes_before: int

    def __str__(self) -> str:
        told = []
        for step in self.steps:
            left = f"; left as they were: {', '.join(step.left)}" if step.left else ""
            shown = f"; shown {step.tokens:,} tokens" if step.tokens else ""
            told.append(
                f"{step.name}: {', '.join(sorted(set(step.covered.values())))} for {len(step.covered)}{left}{shown}"
            )
        return "\n".join([*told, f"{self.bytes_before:,} bytes before, {self.model_bytes:,} after"])


def transform_folder(folder: str, transforms: Sequence[str], out: str, data: Sequence[str] = ()) -> Remade:
    """Write the other model to `out`, with the folder's tokenizer and defaults."""
    made = [make_transform(text) for text in transforms]
    path = find_model(folder)
    model, steps, shown = load(path).eval(), [], list[Batch]()
    before = stored_bytes(model)
    for text, transform in zip(transforms, made):
        if transform.shown and not shown:
            try:
                codec = tokenizer(path).codec
            except UsageError as error:
                raise UsageError(f"{text} is fitted to a text: {error}") from None
            shown = _shown(model, codec, data)
        done = transform.apply(model, shown if transform.shown else ())
        model = done.model.eval()
        tokens = sum(int(batch.count) for batch in shown) if transform.shown else 0
        name = text.partition(":")[0]
        steps.append(Became(name, tokens, dict(done.covered), list(done.left), plain(done.report)))
    model.save(out, beside=usable_files(path))
    return Remade(out, steps, numbers(model), stored_bytes(model), before)


def _shown(model: Model, codec: Codec, data: Sequence[str]) -> list[Batch]:
    """As many tokens of the training part of a text as an arm of a comparison is shown."""
    length = model.spec.get("length") or LENGTH
    order = Text(load_text(list(data) or None, codec=codec)).order(length, ROWS, 0)
    device = str(next(model.parameters()).device)
    return [to_batch(order.next(step), device) for step in range(-(-SHOWN // (length * ROWS)))]
