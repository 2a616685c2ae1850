"""A trained model with its tokenizer, from a folder or from an arm of a comparison; an adapter on an open model."""

from blockyard.core.errors import UsageError
from blockyard.interop import load
from blockyard.interop.folder import load_onto
from blockyard.interop.peft import is_peft
from blockyard.interop.tokenizer import Tokenizer, fitting, has_words, tokenizer
from blockyard.model.find import find_model
from blockyard.model.model import Model
from blockyard.task._predicts import NAME
from blockyard.train.allocator import keep_memory


def open_model(folder: str) -> tuple[Model, Tokenizer]:
    """Model and tokenizer; `folder` as `find_model` takes it, so OUT:ARM of a comparison as well."""
    path = find_model(folder)
    keep_memory()
    model = load(path).eval()
    try:
        words = tokenizer(path)
    except UsageError as error:
        if not (path / NAME).exists():
            raise
        raise UsageError(f"{error}; blockyard predict scores rows that hold the answer") from None
    return model, fitting(words, model, path)


def open_adapter(folder: str, home: str, model: Model, words: Tokenizer) -> tuple[Model, Tokenizer]:
    """A model of the folder `home` and its tokenizer with an adapter on it, whose memory it shares; the tokenizer is
    another one where the folder of the adapter brings one of its own, as that of peft may."""
    path = find_model(folder)
    made = load_onto(model, home, path).eval()
    if is_peft(path) and has_words(path):  # an attachment of ours has a copy of that of its model
        words = fitting(tokenizer(path), made, path)
    return made, words
