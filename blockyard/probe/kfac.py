"""How does the loss curve along each direction that a projection reads, and along each that it writes?

    A = E[a a^T]    G = E[g g^T]        H of W is nearly G kron A        a what it reads, g = dL/dy of what it says
    PATH:in         (I) eigenvalues of A, the largest first
    PATH:out        (O) eigenvalues of G
    PATH:half       (n components of the O I that hold half of all curvature) / (O I)
    PATH:even       the same where all eigenvalues are equal: 1/2

a and g are of every token that counts, L is the sum of -ln p(next). With labels drawn from the model G is that of the
Fisher matrix; with those of the data of the empirical one. The factor between sums and means of L changes G alone.

Source   arXiv 1503.05671, 2510.24256    Slug  loss-curvature
Family   probes
Differs  a projection that runs several times a token counts all of its runs
"""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blockyard.core import Batch, UsageError
from blockyard.core.settings import Count, Natural, Patterns
from blockyard.probe._inside import in_pieces
from blockyard.probe._read import Arrays, batch_of

Tokens = tuple[str, Tensor, Tensor]


class Factors(NamedTuple):
    """A (I,I) and G (O,O) of a projection, in double precision."""

    read: Tensor
    said: Tensor


def kfac_probe(
    model: Any, data: Any, *, on: Annotated[Patterns, "patterns of paths of projections"] = ("steps.*",),
    labels: Annotated[Literal["data", "drawn"], "next tokens of the data, or drawn from what the model says"] = "data",
    seed: Annotated[Natural, "of labels that are drawn"] = 0,
    batch: Annotated[Count, "rows at once"] = 16,
) -> Arrays:  # fmt: skip
    """Spectra of the curvature on rows (n,L) of ids: `steps.1.part.up:in`."""
    model.require("causal", "the curvature of the loss of the next token")
    paths = [part.path for part in projections(model, on)]
    found: dict[str, Any] = {}
    for path, (read, said) in factors(model, in_pieces(batch_of(model, data, 2), batch), paths, labels, seed).items():
        m, l = (torch.linalg.eigvalsh(each).clamp(min=0).flip(0) for each in (read, said))
        products = (l[:, None] * m).flatten().sort(descending=True).values
        held = (products.cumsum(0) < products.sum() / 2).sum() + 1
        found |= {f"{path}:in": m, f"{path}:out": l}
        found |= {f"{path}:half": held.double() / len(products), f"{path}:even": torch.tensor(0.5)}
    return {name: value.cpu().numpy() for name, value in found.items()}


def projections(model: Any, on: Sequence[str]) -> list[Any]:
    """The projections in full numbers whose input and output can be read, at these paths."""

    able = [part for part in model.parts() if {"linear_in", "linear_out"} <= set(part.points)]
    able = [part for part in able if isinstance(getattr(part, "weight", None), nn.Parameter)]
    found = [part for part in able if any(fnmatchcase(part.path, pattern) for pattern in on)]
    if not found:
        known = ", ".join(part.path for part in able[:4]) or "none"
        raise UsageError(f"no projection in full numbers stands at {', '.join(on)}; there are {known}")
    return found


def factors(
    model: Any, data: Sequence[Batch], paths: Collection[str], labels: str = "data", seed: int = 0
) -> dict[str, Factors]:
    """A and G of the projections at these paths, means over all tokens of the data that count."""
    parts = {part.path: part for part in model.parts() if part.path in paths}
    draw, sums, counts = torch.Generator().manual_seed(seed), dict[str, Factors](), dict.fromkeys(parts, 0)
    again, model.recompute = model.recompute, False  # what is made again in backward was not said
    try:
        for batch in data:
            for path, a, g in _tokens(model, batch, parts, labels, draw):
                a, g = a.double(), g.double()
                new = Factors(a.T @ a, g.T @ g)
                sums[path] = Factors(*map(torch.add, sums[path], new)) if path in sums else new
                counts[path] += len(a)
    finally:
        model.recompute = again
    return {path: Factors(*(each / max(1, counts[path]) for each in found)) for path, found in sums.items()}


def _tokens(
    model: Any, batch: Batch, parts: Any, labels: str, draw: torch.Generator
) -> list[tuple[str, Tensor, Tensor]]:
    """Of every run of a projection what it read (N,I) and the slopes (N,O) of the loss along what it said."""
    met: list[tuple[str, Tensor, Tensor, Any]] = []

    def watch(path: str) -> Any:
        def seen(_: Any, given: Any, out: Tensor) -> Tensor:
            nudge = torch.zeros_like(out).requires_grad_()
            met.append((path, given[0].detach(), nudge, given[1]))
            return out + nudge

        return seen

    hooks = [part.register_forward_hook(watch(path)) for path, part in parts.items()]
    try:
        with torch.enable_grad():
            slopes = torch.autograd.grad(_loss(model(batch), batch, labels, draw), [nudge for _, _, nudge, _ in met])
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [(path, a, g, None if call is None else call.valid) for (path, a, _, call), g in zip(met, slopes)]
    return [(path, _counted(a, valid), _counted(g, valid)) for path, a, g, valid in pairs]


def _loss(out: Any, batch: Batch, labels: str, draw: torch.Generator) -> Tensor:
    """() the sum over tokens that count of what the next one costs."""
    logits = out.logits.double()
    if labels == "drawn":
        drawn = torch.multinomial(logits.detach().softmax(-1).flatten(0, 1).cpu(), 1, generator=draw)
        wanted = drawn.view(logits.shape[:2]).to(logits.device)
        asked = torch.ones_like(wanted, dtype=torch.bool) if batch.valid is None else batch.valid
    else:
        logits, wanted = (logits[:, :-1], batch.tokens[:, 1:]) if batch.targets is None else (logits, batch.targets)
        asked = wanted >= 0
        if batch.valid is not None:
            asked = asked & (batch.valid if batch.targets is not None else batch.valid[:, 1:])
    return cross_entropy(logits[asked], wanted[asked], reduction="sum")


def _counted(x: Tensor, valid: Tensor | None) -> Tensor:
    return x[valid] if valid is not None and valid.shape == x.shape[:2] else x.flatten(0, -2)
