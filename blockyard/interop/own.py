"""Folders of transformers that hold a model of ours as it is: its spec in config.json, its tensors by their paths.

They are opened by the classes of `blockyard/interop/auto.py`, and read by `blockyard.load` as any other.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.interop.weights import read_tensors
from blockyard.model.count import on_meta
from blockyard.model.model import Model
from blockyard.model.save import fill, stored

if TYPE_CHECKING:
    from blockyard.interop.counterpart import Counterpart

OWN = "blockyard"  # the model_type
INSIDE = "inner."  # what the names of tensors start with


def of_own(model: Model) -> "Counterpart":
    """A model as one of our own classes there: the one that writes texts, or the one that says what its head says."""
    from blockyard.interop.counterpart import Counterpart

    for path, tensor in stored(model).items():
        if not tensor.is_floating_point():
            raise UsageError(
                f"{path} holds {tensor.dtype}: a quantised model does not become one of transformers; export the one "
                "it was made of"
            )
    config = {
        "spec": model.spec.to_json(), "hidden_size": model.stream.size,
        "num_hidden_layers": len(model.depth.plan()),
        "tie_word_embeddings": len(model.state_dict()) > len(stored(model)),
    }  # fmt: skip
    vocab = model.axes.get("stem.vocab")
    config |= {} if vocab is None else {"vocab_size": vocab.size}
    tensors = {INSIDE + path: tensor.detach() for path, tensor in stored(model).items()}
    writes = model.of_ids and model.head.says == "tokens" and model.causal
    return Counterpart(OWN, config, tensors, "BlockyardForCausalLM" if writes else "BlockyardModel")


def load_own(folder: Path, config: dict[str, Any], device: Any, dtype: torch.dtype | None) -> Model:
    """The model of such a folder."""
    model = on_meta(Spec.from_json(config.get("spec")))
    tensors = {name.removeprefix(INSIDE): tensor for name, tensor in read_tensors(folder).items()}
    tensors = {name: tensor if dtype is None else tensor.to(dtype) for name, tensor in tensors.items()}
    return fill(model, {name: tensor for name, tensor in tensors.items() if name in stored(model)}, device)
