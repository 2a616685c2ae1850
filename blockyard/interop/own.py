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
    """A model as one of our own classes there."""
    from blockyard.interop.counterpart import Counterpart

    if not model.of_ids or model.head.says != "tokens" or not model.causal:
        raise UsageError("our own class there is for models that read ids from left to right and score the next one")
    for path, tensor in stored(model).items():
        if not tensor.is_floating_point():
            raise UsageError(
                f"{path} holds {tensor.dtype}: a quantised model does not become one of transformers; export the one "
                "it was made of"
            )
    config = {
        "spec": model.spec.to_json(), "vocab_size": model.axes["stem.vocab"].size, "hidden_size": model.stream.size,
        "num_hidden_layers": len(model.depth.plan()),
        "tie_word_embeddings": len(model.state_dict()) > len(stored(model)),
    }  # fmt: skip
    tensors = {INSIDE + path: tensor.detach() for path, tensor in stored(model).items()}
    return Counterpart(OWN, config, tensors, "BlockyardForCausalLM")


def load_own(folder: Path, config: dict[str, Any], device: Any, dtype: torch.dtype | None) -> Model:
    """The model of such a folder."""
    model = on_meta(Spec.from_json(config.get("spec")))
    tensors = {name.removeprefix(INSIDE): tensor for name, tensor in read_tensors(folder).items()}
    tensors = {name: tensor if dtype is None else tensor.to(dtype) for name, tensor in tensors.items()}
    return fill(model, {name: tensor for name, tensor in tensors.items() if name in stored(model)}, device)
