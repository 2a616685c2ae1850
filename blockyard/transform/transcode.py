"""Channels become wide dictionaries of few features, fitted to what they say.

    x what a channel reads, t what it says        z = relu(W_e (x - c) + b)        t^ = W_d^T z + o
    loss = mean over entries of (t^ - t)^2 / |t|  +  penalty * mean over tokens of |z|_1        |row of W_d| = 1

`reads=input` puts the dictionary in the place of the channel. `reads=output` is an autoencoder: it reads t itself and
stands behind the channel, which stays. c and o start at the means of what is read and said. The report says of each
step how many features a token has on average (`l0`), the share of the variance that is lost (`unexplained`), and the
share of features that no token has (`dead`).

Source   arXiv 2406.11944    Slug  transcoders
Family   dictionaries
Differs  rows of W_d are given a length of one after every step; dead features are counted, not revived
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, normalize, relu

from blockyard.core import Spec
from blockyard.core.batch import Batch
from blockyard.core.settings import Count, Natural, NonNegative, Patterns, Positive
from blockyard.model.model import Model
from blockyard.model.save import fill, stored
from blockyard.transform._attach import at_sublayers
from blockyard.transform._base import Applied, Transform, batches
from blockyard.transform._refill import exchanged, refilled

Dictionary = dict[str, Tensor]  # centre (D), encoder (F,D), bias (F), decoder (F,D), offset (D)


class Told(NamedTuple):
    """How sparse a dictionary is, and how true."""

    l0: float
    unexplained: float
    dead: float


class Transcode(Transform):
    shown = True
    example = dict(features=40, steps=5)

    def __init__(
        self, *, features: Annotated[Count, "features; none: 8 times the width"] | None = None,
        penalty: Annotated[NonNegative, "what a token's features cost, by their sum"] = 1e-3,
        reads: Annotated[Literal["input", "output"], "what the features are made of"] = "input",
        on: Annotated[Patterns, "patterns of paths of channels, with * for any word"] = ("steps.*.part",),
        steps: Annotated[Count, "steps of the fit"] = 1000, rate: Annotated[Positive, "of the fit"] = 5e-3,
        tokens: Annotated[Count, "tokens of a step"] = 512,
        seed: Annotated[Natural, "of the first features, and of the order of tokens"] = 0,
    ) -> None:  # fmt: skip
        self.features, self.penalty, self.reads, self.on = features, penalty, reads, on
        self.steps, self.rate, self.tokens, self.seed = steps, rate, tokens, seed

    def plan(self, model: Model) -> dict[str, str]:
        what = "a dictionary" if self.reads == "input" else "a dictionary behind it"
        return dict.fromkeys(at_sublayers(model, "channel", self.on, "transform:transcode"), what)

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        planned = self.plan(model)
        parts = {part.path: part for part in model.parts() if part.path in planned}
        parts_read = taps(model, batches(data, "transform:transcode"), parts)
        wide = Spec("channel", "transcoder") if self.features is None else _wide(self.features)
        behind = self.reads == "output"
        specs = {path: _chain(part.spec, wide) if behind else wide for path, part in parts.items()}
        came = partial(_came, paths=planned if behind else ())
        made, lineage, _ = refilled(model, exchanged(model, specs), self.seed, came)
        tensors, report = {name: tensor.detach() for name, tensor in stored(made).items()}, dict[str, Any]()
        for path, (x, t) in parts_read.items():
            x = t if behind else x
            at = f"{path}.second" if behind else path
            first = {name: tensors[f"{at}.{name}"] for name in ("centre", "encoder", "bias", "decoder", "offset")}
            if x.is_meta:
                continue
            fitted = self._fitted(first, x, t)
            tensors |= {f"{at}.{name}": value for name, value in fitted.items()}
            report[path] = told(fitted, x, t)._asdict()
        made = fill(made, tensors, next(model.parameters()).device)
        figures = {name: {path: each[name] for path, each in report.items()} for name in Told._fields}
        return Applied(made, planned, report=figures, lineage=lineage)

    def _fitted(self, first: Dictionary, x: Tensor, t: Tensor) -> Dictionary:
        """The dictionary after its training on what was read and said, (N,D) each."""
        draw = torch.Generator().manual_seed(self.seed)
        found = begun(first, x, t, draw)
        learnt = {name: value.clone().requires_grad_() for name, value in found.items()}
        adam = torch.optim.Adam(learnt.values(), self.rate)
        with torch.enable_grad():
            for _ in range(self.steps):
                some = torch.randint(len(x), (min(self.tokens, len(x)),), generator=draw).to(x.device)
                adam.zero_grad()
                loss_of(learnt, x[some], t[some], self.penalty).backward()
                adam.step()
                with torch.no_grad():
                    learnt["decoder"].copy_(normalize(learnt["decoder"], dim=1))
        return {name: value.detach() for name, value in learnt.items()}


def begun(like: Dictionary, x: Tensor, t: Tensor, draw: torch.Generator) -> Dictionary:
    """The first numbers: even ones, rows of W_d of a length of one, means taken out."""
    found = dict(like)
    for name in ("encoder", "decoder"):
        bound = (3 / like[name].shape[1]) ** 0.5  # of a variance of 1 / D
        drawn = torch.rand(like[name].shape, generator=draw, dtype=torch.float64) * 2 * bound - bound
        found[name] = drawn.to(like[name])
    return found | {
        "decoder": normalize(found["decoder"], dim=1), "bias": torch.zeros_like(like["bias"]),
        "centre": x.mean(0).to(like["centre"]), "offset": t.mean(0).to(like["offset"]),
    }  # fmt: skip


def said_by(of: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """z (N,F) and t^ (N,D) of a dictionary that reads x (N,D)."""
    z = relu(linear(x - of["centre"], of["encoder"], of["bias"]))
    return z, z @ of["decoder"] + of["offset"]


def loss_of(of: Mapping[str, Tensor], x: Tensor, t: Tensor, penalty: float) -> Tensor:
    """() what a dictionary loses on tokens (N,D), each by its size |t|, and what its features cost."""
    z, said = said_by(of, x)
    size = t.norm(dim=1, keepdim=True).clamp(min=torch.finfo(t.dtype).tiny)
    return ((said - t).square() / size).mean() + penalty * z.abs().sum(1).mean()


@torch.no_grad()
def told(of: Mapping[str, Tensor], x: Tensor, t: Tensor) -> Told:
    """How sparse and how true a dictionary is on tokens (N,D)."""
    z, said = said_by(of, x)
    spread = (t - t.mean(0)).square().sum()
    lost = float((said - t).square().sum() / spread) if spread else 0.0
    return Told(float((z > 0).double().sum(1).mean()), lost, float((z > 0).any(0).logical_not().double().mean()))


@torch.no_grad()
def taps(model: Model, data: Sequence[Batch], parts: Mapping[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """What these sublayers read and say, (N,D) each, of all tokens that count and in all of their runs."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {path: [] for path in parts}

    def watch(path: str) -> Any:
        def seen(_: Any, given: Any, out: Any) -> None:
            x, call = given[0], given[1]
            found[path].append((_counted(x, call.valid), _counted(out[0], call.valid)))

        return seen

    hooks = [part.register_forward_hook(watch(path)) for path, part in parts.items()]
    try:
        for batch in data:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: tuple(torch.cat(side) for side in zip(*pairs)) for path, pairs in found.items()}  # pyright: ignore


def _counted(x: Tensor, valid: Tensor | None) -> Tensor:
    return x.flatten(0, 1) if valid is None else x[valid]


def _wide(features: int) -> Spec:
    return Spec.of("channel", "transcoder", {"inner": features})


def _chain(base: Spec, wide: Spec) -> Spec:
    return Spec.of("channel", "chain", {"first": base, "second": wide})


def _came(name: str, paths: Collection[str]) -> str:
    """The name that a tensor had before the channels at these paths became the first of two."""
    for path in paths:
        if name.startswith(f"{path}.first."):
            return f"{path}.{name.removeprefix(f'{path}.first.')}"
    return name
