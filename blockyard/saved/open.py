"""A trained model with its codec, from a folder or from an arm of a comparison."""

from blockyard.core.errors import UsageError
from blockyard.data.tokens import Codec, load_codec
from blockyard.interop import load
from blockyard.model.find import find_model
from blockyard.model.model import Model
from blockyard.task._predicts import NAME
from blockyard.train.allocator import keep_memory


def open_model(folder: str) -> tuple[Model, Codec]:
    """Model and codec; `folder` as `find_model` takes it, so OUT:ARM of a comparison as well."""
    path = find_model(folder)
    keep_memory()
    model, words = load(path).eval(), path / "tokenizer.json"
    if not words.exists():
        why = f"{path} has no tokenizer.json, so it reads no text: was it trained on a task?"
        rows = "; blockyard predict scores rows that hold the answer" * (path / NAME).exists()
        raise UsageError(f"{why}{rows}")
    codec = load_codec(words)
    known = model.axes["stem.vocab"].size
    if codec.vocab > known:
        raise UsageError(f"{words} has {codec.vocab} tokens and the model {known}: they are not of one model")
    return model, codec
