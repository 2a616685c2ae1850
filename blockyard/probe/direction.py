"""Along which direction does the stream tell two kinds of rows apart, and is it another model's direction too?

    d = mean(h | kind 1) - mean(h | kind 0)        r = d / |d|        on the rows that teach
    PATH             (D,) r
    PATH:accuracy    share of the other rows on the right side of the middle between both means, along r
    PATH:shuffled    the same where kinds were dealt out anew among the rows
    PATH:given       with `others`: the same along the direction found elsewhere, by a middle of this model's own
    PATH:cosine      with `others`: r times that direction

Two directions of nothing in common have a cosine of about D^-1/2. `without`, `ablated` and `steered` take a direction
out of a stream, at every depth, or put more of it in.

Source   arXiv 2504.02904, 2406.11717    Slug  post-training-mechanisms
Family   probes
Differs  the threshold is the middle between the means, not a logistic regression's
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from blockyard.core import UsageError
from blockyard.core.flow import Flow
from blockyard.core.settings import Natural, Word
from blockyard.probe._inside import along, read_all
from blockyard.probe._read import Arrays, batch_of
from blockyard.probe.linear import read_at


def direction_probe(
    model: Any, data: Any, kinds: Annotated[Any, "(n,) which rows are of kind 1; none: the later half"] = None, *,
    others: Annotated[Any, "directions of another model by place, as this probe gives them; none: none"] = None,
    at: Annotated[Word, "`stream`, or a pattern of hook points"] = "stream",
    token: Annotated[Literal["last", "first", "mean"], "what is read of a row"] = "last",
    seed: Annotated[Natural, "of which half of the rows teaches, and of what is shuffled"] = 0,
) -> Arrays:  # fmt: skip
    """A direction and its scores for every place, on rows (n,L) of ids or a batch of anything."""
    given = batch_of(model, data)
    rows = len(given.tokens)
    kind = torch.as_tensor(torch.arange(rows) >= rows // 2 if kinds is None else kinds).cpu().bool()
    if kind.shape != (rows,):
        raise UsageError(f"kinds are one a row of {rows}, not {tuple(kind.shape)}")
    teach, dealt = split(kind, seed)
    found: Arrays = {}
    for name, value in read_all(model, given, at, 64).items():
        h = read_at(name, value, given.valid, token, kind)
        r = unit(between(h[teach], kind[teach]))
        found[name] = r.numpy()
        found[f"{name}:accuracy"] = np.array(told_apart(h, kind, teach, r))
        found[f"{name}:shuffled"] = np.array(told_apart(h, dealt, teach, unit(between(h[teach], dealt[teach]))))
        if others is not None:
            r, its = torch.from_numpy(found[name]), _of(others, name, r)
            found[f"{name}:given"] = np.array(told_apart(h, kind, teach, its))
            found[f"{name}:cosine"] = np.array(float(r @ its))
    return found


def split(kind: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """(n,) which rows teach, half of each kind; and the kinds dealt out anew, on either side by itself."""
    draw = np.random.default_rng(seed)
    teach, dealt = torch.zeros_like(kind), kind.clone()
    for of in (kind, ~kind):
        rows = of.nonzero()[:, 0]
        teach[rows[torch.from_numpy(draw.permutation(len(rows)))[: (len(rows) + 1) // 2]]] = True
    for side in (teach, ~teach):
        rows = side.nonzero()[:, 0]
        dealt[rows] = kind[rows[torch.from_numpy(draw.permutation(len(rows)))]]
    return teach, dealt


def between(h: Tensor, kind: Tensor) -> Tensor:
    """(D,) from the mean of h (n,D) of kind 0 to that of kind 1."""
    if kind.all() or not kind.any():
        raise UsageError("a direction leads from one kind of rows to another: among those that teach, one is missing")
    return h[kind].mean(0) - h[~kind].mean(0)


def unit(d: Tensor) -> Tensor:
    """d with a length of one; zeros stay zeros."""
    return d / d.norm().clamp(min=torch.finfo(d.dtype).tiny)


def told_apart(h: Tensor, kind: Tensor, teach: Tensor, r: Tensor) -> float:
    """The share of the rows that do not teach which lie on the right side of the middle along r."""
    said = h @ r
    high, low = (said[teach & of].mean() for of in (kind, ~kind))
    return float((((said > (high + low) / 2) == (high > low)) == kind)[~teach].double().mean())


def without(h: Tensor, r: Tensor) -> Tensor:
    """h (...,D) less what lies along a unit direction r (D,)."""
    return h - (h @ r)[..., None] * r


def ablated(model: Any, data: Any, r: Tensor) -> Any:
    """What a model says that never has anything along r (D,) in its stream."""
    r = unit(r)
    return along(model, batch_of(model, data), lambda _, flow: edited(flow, without(flow.x, r.to(flow.x))))


def steered(model: Any, data: Any, place: str, more: Tensor) -> Any:
    """What a model says to whose stream something (D,) is added at one place, at every token."""
    met = list[str]()

    def push(name: str, flow: Flow) -> Flow:
        met.append(name)
        return edited(flow, flow.x + more.to(flow.x)) if name == place else flow

    out = along(model, batch_of(model, data), push)
    if place not in met:
        raise UsageError(f"the stream never passes {place}; it passes {', '.join(met[:4])}")
    return out


def edited(flow: Flow, x: Tensor) -> Flow:
    """The flow with another stream, where its rule carries the stream and nothing else."""
    if flow.x is not flow.carry:
        rule = "a rule" if flow.rule is None else f"residual:{flow.rule.spec.name}"
        raise UsageError(f"{rule} carries more than the stream, so no direction can be taken out of all of it")
    return flow._replace(carry=x)


def _of(others: Mapping[str, Any], name: str, like: Tensor) -> Tensor:
    if name not in others or np.shape(others[name]) != tuple(like.shape):
        raise UsageError(f"the other directions have none of {tuple(like.shape)} at {name}")
    return unit(torch.as_tensor(others[name]).to(like))
