"""How many tokens the model of a folder reads at once, where something says so.

    learned positions          as many as there are: no text can be longer
    config.json of others      n_positions, max_position_embeddings or n_ctx, the first that is there
    a model of ours            the length that it was trained at

None of these: a model may read any length, as recurrent ones that transformers saved.
"""

from pathlib import Path

from blockyard.core.errors import UsageError, brief
from blockyard.core.files import read_json
from blockyard.interop.own import OWN
from blockyard.interop.tokenizer import home_of_model
from blockyard.model.model import Model

SAID = ("n_positions", "max_position_embeddings", "n_ctx")


def learned_length(model: Model) -> int | None:
    """How many positions a model has learned, None where it has learned none."""
    axis = model.axes.get("stem.position.length")
    return None if axis is None else axis.size


def text_length(folder: str | Path, model: Model) -> int | None:
    """Tokens that the `model` of a `folder` reads at once; None where nothing says so."""
    if (learned := learned_length(model)) is not None:
        return learned
    path = home_of_model(folder) / "config.json"
    config = read_json(path)
    if config.get("model_type", OWN) != OWN:
        value = next((config[name] for name in SAID if config.get(name) is not None), None)
        if value is not None and (type(value) is not int or value < 1):
            raise UsageError(f"{path}: {brief(repr(value))} is no length of a text")
        return value
    return model.spec.get("length")
