"""A model of certain choices becomes the program that it is: Python that anyone can run and read.

    logits of choices -> 20 for what is chosen, -20 for the rest; and `report["program"]`, a module with `run(tokens)`

The program says of every token what the model finds likeliest there, for every input: variables are lists of one value
a token, heads become dictionaries with a search, tables dictionaries, the head a sum of columns. It needs a stem and
steps that can be told (`core/variables.py`), a stream that is appended to and a head without a norm.

Source   arXiv 2306.01128    Slug  transformer-programs
Family   programs
Differs  one module without imports; the model that comes out says in training what it says outside
"""

from collections.abc import Sequence
from typing import Any

import torch

from blockyard.core.batch import Batch
from blockyard.core.call import Call
from blockyard.core.errors import UsageError
from blockyard.core.variables import Names, Programmed
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform

PRELUDE = '''"""A program of {params} learned numbers: run(tokens) -> what is likeliest behind each of them."""


def seen(t, tokens):
    return range({seen})


def latest(wanted, keys, values):
    found = []
    for t, want in enumerate(wanted):
        at = [s for s in range(t) if keys[s] is not None and keys[s] == want]
        itself = keys[t] is not None and keys[t] == want
        found.append(values[at[-1] if at else t if itself else 0])
    return found


def count(wanted, keys, values):
    return [
        sum(values[s] for s in seen(t, keys) if keys[s] is not None and keys[s] == want)
        for t, want in enumerate(wanted)
    ]


'''


class Decompile(Transform):
    base = "transformer_programs"

    def plan(self, model: Model) -> dict[str, str]:
        return {part.path: "certain choices" for part in _programmed(model)}

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        tensors = {name: tensor.detach().clone() for name, tensor in stored(model).items()}
        for part in _programmed(model):
            tensors |= {f"{part.path}.{name}": value for name, value in part.certain().items()}
        first = next(model.parameters())
        with torch.device("meta"):
            made = build(model.spec)
        report = {} if first.is_meta else {"program": program(model)}
        return Applied(fill(made, tensors, first.device), self.plan(model), (), report)


@torch.no_grad()
def program(model: Model) -> str:
    """The text of the module."""
    stem, *steps = _programmed(model)
    lines, known, order = ["ones = [1] * len(tokens)"], Names(), list[tuple[str, int]]()
    for place, part in enumerate((stem, *steps), -1):
        told = part.told(known, place)
        lines += told.lines
        known = Names([*known.categorical, *told.names.categorical], [*known.numbers, *told.names.numbers])
        order += [(name, model.stem.values) for name in told.names.categorical]
        order += [(name, 1) for name in told.names.numbers]
    lines += _scores(model, order)
    head = PRELUDE.format(
        params=sum(p.numel() for p in model.parameters()),
        seen="t + 1" if model.causal else "len(tokens)",
    )
    return head + "def run(tokens):\n" + "".join(f"    {line}\n" for line in lines)


def _scores(model: Model, order: Sequence[tuple[str, int]]) -> list[str]:
    """The lines that score every id by the variables, of so many channels each, and answer the best."""
    columns, at = _columns(model), 0
    lines = [f"scores = [[0.0] * {columns.shape[1]} for _ in tokens]"]
    for name, width in order:
        held = columns[at : at + width].tolist()
        at += width
        if width > 1:
            lines.append(f"by_{name} = {dict(enumerate(held))}")
            told = f"by_{name}[x][i] if x is not None else 0.0"
        else:
            lines.append(f"by_{name} = {held[0]}")
            told = f"by_{name}[i] * x"
        lines.append(f"for row, x in zip(scores, {name}):")
        lines.append(f"    for i in range({columns.shape[1]}):")
        lines.append(f"        row[i] += {told}")
    return [*lines, "return [row.index(max(row)) for row in scores]"]


def _columns(model: Model) -> Any:
    """(D,V) what each channel of the stream adds to the scores, in the widest precision; a head that is not linear is
    refused."""
    size, like = model.head.stream.size, next(model.parameters())
    eye = torch.eye(size, dtype=like.dtype, device=like.device)[None]
    said = model.head(torch.cat([eye, 2 * eye], 0), Call.plain(eye), None)[0]["logits"]
    if not torch.allclose(2 * said[0], said[1], rtol=1e-4, atol=1e-6):
        raise UsageError("decompile: the head's scores are no sum of what channels say: norm=none makes them one")
    return said[0].double().cpu()


def _programmed(model: Model) -> list[Any]:
    """The stem and the part of every step, all of which can be told."""
    parts = [model.stem, *(step.part for step in model.steps)]
    wrong = [part for part in parts if not isinstance(part, Programmed)]
    if wrong:
        name = f"{wrong[0].spec.kind}:{wrong[0].spec.name}"
        raise UsageError(f"decompile: {wrong[0].path} is {name}, which cannot be told as a program")
    return parts
