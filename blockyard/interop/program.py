"""A forward as a program of torch, from ids (B,T) to scores (B,T,V): any batch and, where it can be, any length.

Where lengths cannot vary (a recurrence that is unrolled piece by piece), one length is named and holds for the program.
"""

import traceback
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from blockyard.core.errors import UsageError, WorkFailed
from blockyard.model.model import Model

NEAR = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.01}
LONGEST = 1 << 17


class Scores(nn.Module):
    """The model as a function of ids alone."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids).logits


def length_of(form: str, name: str | None) -> int | None:
    """The length that stands behind a form's name and a colon; None: any."""
    if name is None:
        return None
    if not name.isdecimal() or not 1 <= int(name) <= LONGEST:
        raise UsageError(f"{form}:{name}: expected a number of tokens up to {LONGEST}, as in {form}:128")
    return int(name)


def traced(model: Model, form: str, length: int | None) -> Any:
    """The exported program; UsageError, with the part and the reason, where there is none."""
    if not model.of_ids or model.head.says != "tokens":
        raise UsageError(f"{form}: only models that read ids and score the next one become a program")
    axes = {0: torch.export.Dim.DYNAMIC} | ({} if length else {1: torch.export.Dim.DYNAMIC})
    ids = ids_of(model, 2, length or 24)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(Scores(model).eval(), (ids,), dynamic_shapes=(axes,))
    except Exception as error:  # torch says in many ways what it cannot do
        mend = "" if length else f"; where only its length must not vary, name one, as in {form}:128"
        raise UsageError(f"{form}: {_where(error, model)}{_short(error)}{mend}") from None


def ids_of(model: Model, rows: int, length: int) -> Tensor:
    """Ids to try a program on."""
    return model.example(rows, length, torch.Generator().manual_seed(0)).tokens


def longest(program: Any) -> int | None:
    """Tokens of the longest rows that a program takes; None: any."""
    (ids,) = [node for node in program.graph.nodes if node.op == "placeholder" and node.name == "ids"]
    size = ids.meta["val"].shape[1]
    bound = program.range_constraints.get(size.node.expr) if isinstance(size, torch.SymInt) else None
    return int(bound.upper) if bound is not None and bound.upper < LONGEST else None


def checked(
    run: Callable[[Tensor], Tensor], model: Model, form: str, length: int | None, most_tokens: int | None = None
) -> float:  # fmt: skip
    """How far the program's scores are from the model's, at several shapes; WorkFailed where that is too far."""
    most = 0.0
    kind = next(model.parameters()).dtype
    for rows, tokens in [(2, 24), (1, 24), (3, 9), (1, 70)]:
        ids = ids_of(model, rows, length or min(tokens, most_tokens or tokens))
        with torch.no_grad():
            expected = model(ids).logits
            try:
                found = run(ids)
            except (AssertionError, RuntimeError) as error:
                mend = "" if length else f"; name the length of its rows, as in {form}:128"
                why = f"the program does not run on {rows} x {ids.shape[1]} tokens"
                raise UsageError(f"{form}: {why} ({_short(error)}){mend}") from None
        if found.shape != expected.shape or not bool(found.isfinite().all()):
            what = f"{tuple(found.shape)} scores, or some that are not finite"
            raise WorkFailed(f"{form}: the program gives {what}, so it was not written")
        most = max(most, float((found.double() - expected.double()).abs().max()))
    if most > NEAR.get(kind, 1e-4):
        raise WorkFailed(f"{form}: the program's scores are {most:.2g} from the model's, so it was not written")
    return most


def _where(error: Exception, model: Model) -> str:
    """The innermost part of ours that was running, by its kind and name."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    named = {f"{part.spec.kind}:{part.spec.name}" for part in model.parts()}
    for file in reversed(files):
        kind, _, inside = file.rpartition("/blockyard/parts/")[2].partition("/")
        name = f"{kind}:{inside.rpartition('/')[2].removesuffix('.py')}"
        if name in named:
            return f"{name} cannot become part of a program: "
    return "the model cannot become a program: "


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:200]}"
