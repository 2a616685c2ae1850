"""Do a few columns in full precision save a model in 8 bits that has a few very large activations?

Source   arXiv 2208.07339    Slug  llm-int8    Family  quantisation
Claim    with the columns of large activations kept apart nothing is lost, and without it much is
Differs  60k parameters on the texts of CPython, where no activation grows so large: 3 channels of what each norm writes
         are made 50 times as large, exactly
"""

import torch
from torch.nn.functional import cross_entropy

from blockyard.core import Batch
from blockyard.data import load_text
from blockyard.model.model import Model
from blockyard.study._base import Given, Race, Study, Trial, beneath, figure, level
from blockyard.transform._base import make_transform

LENGTH, ROWS, SHOWN = 128, 128, 64
FORMS = {  # of one model: how it multiplies
    "tensor": "outliers=nowhere,scales=one,store=dense",
    "vector": "outliers=nowhere,store=dense",
    "kept": "outliers=batch,store=dense",  # as in the paper: columns apart are those of the full matrix
    "stored": "outliers=batch,store=int8_rows",  # as usually run: they are made of the codes
    "fixed": "outliers=data,store=dense",  # found once, on training data
}


def rises(given: Given) -> dict[str, float]:
    """Nats a token that each form adds to the loss on test text of the model with outliers, and vector-wise 8 bits to
    that of the model as it was trained; and the size of what the paper's form adds."""
    rows = ROWS if given.tier == "small" else 2
    text = load_text()
    test, train = (_rows(split.tokens, rows) for split in (text.test, text.train))
    model, planted = given.trained("text", "llama"), given.trained("text", "planted")
    shown = [Batch(each) for each in train[:SHOWN].split(16)]
    found = {"loss": _loss(planted, test), "unplanted": 0.0}
    for name, settings in FORMS.items():
        made = make_transform(f"int8:{settings}").apply(planted, shown).model.eval()
        found[name] = _loss(made, test) - found["loss"]
    made = make_transform(f"int8:{FORMS['vector']}").apply(model, shown).model.eval()
    found["unplanted"] = _loss(made, test) - _loss(model, test)
    return found | {"kept_off": abs(found["kept"]), "fixed_off": abs(found["fixed"])}


def _rows(tokens: object, rows: int) -> torch.Tensor:
    return torch.as_tensor(tokens[: rows * LENGTH].astype("int64")).view(rows, LENGTH)  # pyright: ignore


@torch.no_grad()
def _loss(model: Model, rows: torch.Tensor) -> float:
    """Nats a token."""
    total = 0.0
    for some in rows.split(16):
        logits = model(some[:, :-1]).logits
        total += float(cross_entropy(logits.flatten(0, 1).double(), some[:, 1:].flatten(), reduction="sum"))
    return total / (rows.shape[0] * (rows.shape[1] - 1))


def study() -> Study:
    options = {"params": "60k", "tokens": "120k", "seeds": 3, "tuning": "none"}
    return Study(
        races=(Race("text", ("llama", "planted=llama|rescale:factor=50,channels=3"), options=options),),
        trials=(Trial("8 bits", rises),),
        predictions=(
            level("text", "llama", "planted"),
            figure("8 bits", "kept_off", most=0.003),
            figure("8 bits", "fixed_off", most=0.003),
            beneath("8 bits", "kept", "vector", 0.2),
            beneath("8 bits", "vector", "tensor"),
            beneath("8 bits", "kept", "stored", 0.2),
            beneath("8 bits", "unplanted", "vector", 0.2),
        ),
    )
