"""The training step of whole recipes at one parameter count, each beside llama: what an architecture costs here.

The same step around every model on the same ids, eager, as `blockyard train` runs it. The operations of a floor are
those of the recipe's own equations, so the fraction says how well a recipe runs, not how cheap it is.
"""

from functools import partial

from blockyard.bench.measure import Row, Rows, Tell, aloud
from blockyard.bench.process import Maker
from blockyard.bench.train import Ids, Trainee, run_race, stepped
from blockyard.compare.plan.budget import solve
from blockyard.core import registry
from blockyard.core.errors import unknown
from blockyard.model.count import count_flops, on_meta
from blockyard.model.model import build
from blockyard.train.precision import PRECISIONS

BESIDE, PARAMS = "llama", 11e6


def trainee(recipe: str, params: float, length: int, batch: int, device: str, precision: str) -> Trainee:
    model = build(solve(recipe, params, {}))
    return stepped(model, lambda module, ids: module(ids).logits, Ids(256, batch, length), device, precision)


def bench(
    *, length: int = 256, batch: int = 8, device: str = "cpu", precision: str | None = None, rounds: int = 7,
    quick: bool = False, params: float = PARAMS, apart: bool = True, tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """All rows; `quick` takes llama and two more."""
    if precision is not None and precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    others = ["gla", "mamba2"] if quick else [name for name in registry.entries("recipe") if name != BESIDE]
    names = [BESIDE, *others]
    rows = Rows("recipes")
    shape = {"T": length, "batch": batch, "size": params}
    rows.load(shape, tell)
    operations = {name: count_flops(on_meta(solve(name, params, {})), length) for name in names}
    given = {"params": params, "length": length, "batch": batch, "device": device}
    race = partial(run_race, rows, rounds=rounds, device=device, apart=apart, tell=tell)
    for each in PRECISIONS if precision is None else (precision,):
        made = {"precision": each, **given}
        makers: dict[str, Maker] = {
            f"blockyard/{name}": ("recipes:trainee", {"recipe": name, **made}) for name in names
        }
        work = {f"blockyard/{name}": (float(operations[name]), each) for name in names}
        pairs = [(f"blockyard/{name}", f"blockyard/{BESIDE}") for name in others]
        race(makers, work, pairs, shape | {"precision": each}, keep=True)
    return rows.rows
