"""What one part costs: the body of llama with a part of one kind swapped, beside the plain body of as many parameters.

Every residual rule, position scheme, norm, activation, channel and way to weigh that fits into the body takes part,
those that are added later too. All train the same step on the same ids, and write text greedily, token after token.

step, token     milliseconds of a training step and of a token that is written; their ratios are to the plain body's
recorded        1 where a token is a recorded program, 0 where the model writes as it trains; why is said on the way
"""

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

from torch import Tensor

from blockyard.bench.measure import Row, Rows, Tell, aloud, interleave
from blockyard.bench.process import contestants
from blockyard.bench.train import Ids, Trainee, stepped
from blockyard.compare.plan.budget import solve
from blockyard.compare.run.speed import decode_seconds
from blockyard.core import registry
from blockyard.core.errors import UsageError
from blockyard.core.spec import Spec
from blockyard.decode.program import refusal
from blockyard.model.model import Model, build
from blockyard.systems import parse_arm

BESIDE, PARAMS = "llama", 1e6
KINDS = ("residual", "position", "norm", "activation", "channel", "weigh")
FEW = ("residual=postnorm", "norm=layer")


class Stand:
    """All arms in one process: of each a model that trains, and one that writes and is never touched by training."""

    def __init__(self, arms: Sequence[str], params: float, length: int, batch: int, device: str) -> None:
        self.length, self.ids = length, Ids(256, batch, length)
        self.trainees, self.writers = dict[str, Trainee](), dict[str, Model]()
        for arm in arms:
            system = system_of(arm, params)
            self.writers[arm] = build(system).to(device).eval()
            self.trainees[arm] = stepped(build(system), _logits, self.ids, device, "float32")
        self.facts = {arm: refusal(model) for arm, model in self.writers.items()}

    def step(self, arm: str) -> float:
        """Seconds of a training step."""
        return self.trainees[arm].step()

    def token(self, arm: str) -> float:
        """Seconds of a token that is written."""
        return decode_seconds(self.writers[arm], self.length)


def _logits(module: Any, ids: Tensor) -> Tensor:
    return module(ids).logits


def system_of(arm: str, params: float) -> Spec:
    """The system of an arm, as it is typed, of so many parameters."""
    target = parse_arm(arm)
    return solve(target.name, params, target.overrides)


def swaps(params: float, tell: Tell) -> list[str]:
    """The arms: every part of every kind that the plain body can be built with."""
    found = []
    for kind in KINDS:
        for name in registry.entries(kind):
            arm = f"{BESIDE}:{kind}={name}"
            try:
                system_of(arm, params)
            except UsageError as error:
                tell(f"left out: {error} ({arm})")
                continue
            found.append(arm)
    return found


def bench(
    *, length: int = 128, batch: int = 8, device: str = "cpu", rounds: int = 7, quick: bool = False,
    params: float = PARAMS, arms: Sequence[str] | None = None, apart: bool = True, tell: Tell = aloud,
) -> list[Row]:  # fmt: skip
    """All rows; `quick` takes two swaps, `arms` those that are named, each as `compare` takes it."""
    few = [f"{BESIDE}:{each}" for each in FEW] if quick else swaps(params, tell) if arms is None else list(arms)
    rows, shape = Rows("parts"), {"T": length, "batch": batch, "size": params, "precision": "float32"}
    rows.load(shape, tell)
    every = [BESIDE, *few]
    given = {"arms": every, "params": params, "length": length, "batch": batch, "device": device}
    with contestants({"blockyard/parts": ("parts:Stand", given)}, keep=True, apart=apart, tell=tell) as stand:
        one = stand["blockyard/parts"]
        turns = {(arm, what): partial(one.call, what, arm=arm) for arm in every for what in ("step", "token")}
        found = interleave({" ".join(at): turn for at, turn in turns.items()}, rounds, tell=tell, what="parts")
    for arm in every:
        rows.add(arm, "step", 1e3 * median(found[f"{arm} step"]), "ms", shape)
        rows.add(arm, "token", 1e3 * median(found[f"{arm} token"]), "ms", shape)
        rows.add(arm, "recorded", float(one.facts[arm] is None), "", shape)
        if one.facts[arm] is not None:
            tell(f"{arm} writes as it trains: {one.facts[arm]}")
    for what, of in (("step", "steps_per_s"), ("token", "tokens_per_s")):
        own = {arm: found[f"{arm} {what}"] for arm in every}
        for arm in few:
            rows.ratio(arm, BESIDE, of, own, shape)
    return rows.rows
