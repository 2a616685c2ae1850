"""A trained model with its tokenizer, from a folder or from an arm of a comparison."""

from blockyard.core.errors import UsageError
from blockyard.interop import load
from blockyard.interop.tokenizer import Tokenizer, fitting, tokenizer
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
