"""Which features of earlier dictionaries does a feature of a later one read, token by token?

    a_j = e_j . (N(x) - c) + b_j        what feature j of the later dictionary is made of, before the relu
        = sum over earlier steps and features i of z_i (d_i . e_j) / s  +  rest . e_j / s  +  bias
    PATH>LATER      (F,G) mean over tokens of z_i (d_i . e_j) / s, i of an earlier dictionary, j of the later
    rest>LATER      (G) what tokens and mixers, and channels that are no dictionaries, add
    bias>LATER      (G) what no token decides: b_j - c . e_j, the earlier offsets, and the norm's own
    LATER           (G) the mean of a_j, which the others sum to

d_i is a row of W_d, e_j a row of W_e with the gain of the norm in front. What that norm divides by, s, is held at what
it was for each token; so the sum is exact. Steps write straight to the stream, once each: other rules are refused.

Source   arXiv 2406.11944    Slug  transcoders
Family   probes
Differs  of features of the same token; what a head carries from another token is part of the rest
"""

from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from blockyard.core import Batch, UsageError
from blockyard.core.call import Call
from blockyard.core.part import Residual
from blockyard.core.settings import Count
from blockyard.probe._inside import in_pieces
from blockyard.probe._read import Arrays, batch_of

OWNED = "centre", "encoder", "bias", "decoder", "offset"  # of a dictionary
systems = ("llama",)
channel = "transcoder"  # in every block: recipes have none of their own


class Sum(NamedTuple):
    """The terms of every feature of a dictionary: by earlier step (B,T,F) features and (F,G) what one of them is worth
    where the scale is 1; rest (B,T,G), bias (B,T,G), scale (B,T,1), and what they sum to (B,T,G)."""

    features: dict[str, Tensor]
    worth: dict[str, Tensor]
    rest: Tensor
    bias: Tensor
    scale: Tensor
    whole: Tensor


@torch.no_grad()
def circuits_probe(
    model: Any, data: Any, later: Annotated[int, "the step whose features are explained; -1: the last dictionary"] = -1,
    *, batch: Annotated[Count, "rows at once"] = 16,
) -> Arrays:  # fmt: skip
    """Means over the tokens of rows (n,L) of ids: `steps.1.part>steps.3.part`."""
    given = batch_of(model, data)
    found: dict[str, Any] = {}
    for piece in in_pieces(given, batch):
        share = len(piece.tokens) / len(given.tokens)
        said, name = terms(model, piece, later)
        means = {
            f"{path}>{name}": _mean(z / said.scale)[:, None] * said.worth[path] for path, z in said.features.items()
        }
        means |= {f"rest>{name}": _mean(said.rest), f"bias>{name}": _mean(said.bias), name: _mean(said.whole)}
        for key, value in means.items():
            found[key] = found.get(key, 0) + share * value
    return {key: value.cpu().numpy() for key, value in found.items()}


def terms(model: Any, batch: Batch, later: int = -1) -> tuple[Sum, str]:
    """What the features of a step are made of at every token, and the path of that step."""
    places = dictionaries(model)
    if later == -1 and places:
        later = places[-1]
    if later not in places:
        raise UsageError(f"step {later} is no dictionary that reads the stream; those are {places or 'none'}")
    unit = model.steps[later]
    earlier = {model.steps[k].part.path: model.steps[k].part for k in places if k < later}
    norm, path = unit.rule.norm, unit.part.path
    scaled = "scale" in norm.points
    if not scaled and norm.spec.name != "none":
        raise UsageError(f"{norm.path}: norm:{norm.spec.name} does not show what it divides by, so it cannot be held")
    points = {f"{each}:hidden": "read" for each in earlier} | ({f"{norm.path}:scale": "read"} if scaled else {})
    flow = model.run(model.start(batch, points=points), range(later + 1))
    z = {each: flow.captures[k, 0, each, "hidden"] for k in places if (each := model.steps[k].part.path) in earlier}
    x = model.run(model.start(batch), range(later)).x
    scale = flow.captures[later, 0, norm.path, "scale"] if scaled else torch.ones_like(x[..., :1])
    part = unit.part
    still = _unscaled(norm, torch.zeros_like(x[:1, :1]))[0, 0]  # what a norm says of nothing
    worth = {each: (_unscaled(norm, one.decoder[None])[0] - still) @ part.encoder.T for each, one in earlier.items()}
    offsets = sum((one.offset for one in earlier.values()), torch.zeros_like(still))
    plain = x - offsets - sum((z[each] @ one.decoder for each, one in earlier.items()), torch.zeros_like(x))
    rest = (_unscaled(norm, plain) - still) @ part.encoder.T / scale
    moved = (_unscaled(norm, offsets[None, None]) - still) @ part.encoder.T / scale
    bias = moved + (still - part.centre) @ part.encoder.T + part.bias
    whole = (norm(x, flow.call) - part.centre) @ part.encoder.T + part.bias
    return Sum(z, worth, rest, bias, scale, whole), path


def dictionaries(model: Any) -> list[int]:
    """The steps whose channel is a dictionary; UsageError where steps do not write straight to the stream."""
    held = [all(isinstance(getattr(step.part, name, None), Tensor) for name in OWNED) for step in model.steps]
    for step in model.steps:
        rule = getattr(step, "rule", None)
        if rule is None or type(rule).write is not Residual.write or not hasattr(rule, "norm"):
            raise UsageError(f"{step.part.path}: contributions add up where steps write straight to the stream")
    if model.depth.order() != [(step, 0) for step in range(len(model.steps))]:
        raise UsageError("contributions are of steps that run once each, in their order")
    return [step for step, is_one in enumerate(held) if is_one]


def top(said: Sum, row: int, token: int, feature: int, count: int) -> list[tuple[str, int, float]]:
    """The largest contributions to a feature at a token: (path, feature, worth), the largest first."""
    found = []
    for path, z in said.features.items():
        each = z[row, token] * said.worth[path][:, feature] / said.scale[row, token]
        found += [(path, i, float(each[i])) for i in each.abs().topk(min(count, len(each))).indices.tolist()]
    return sorted(found, key=lambda one: -abs(one[2]))[:count]


def _unscaled(norm: Any, x: Tensor) -> Tensor:
    """What a norm makes of x (B,T,D) where it divides by 1."""
    call = Call.plain(x)._replace(points={(norm.path, "scale"): torch.ones_like})
    return norm(x, call)


def _mean(x: Tensor) -> Tensor:
    return x.double().mean((0, 1))
