"""Take out of a projection the directions along which the loss hardly curves: what training text alone has put there.

    G = U diag(l) U^T    A = V diag(m) V^T        C = U^T W V        component (p,q) has the curvature l_p m_q
    W' = U (C where kept, else 0) V^T             kept: the largest l_p m_q until their sum reaches `share` of all

A is the second moment of what the projection reads and G that of the slopes of the loss along what it says, on data. Of
equal curvatures those of the larger l, then of the larger m stay first. All of the share keeps all. What is cut for a
smaller share holds what is cut for a larger one. Biases stay; the model that is given stays as it is, to the bit.

Source   arXiv 2510.24256, 1503.05671    Slug  loss-curvature
Family   editors
Differs  labels of the data, or drawn from the model; components are chosen by their product, not rank by rank
"""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.settings import Natural, Patterns, Share
from blockyard.model.model import Model
from blockyard.probe.kfac import Factors, factors, projections
from blockyard.transform._base import Applied, Transform, batches
from blockyard.transform._sweep import copied


class Basis(NamedTuple):
    """C (O,I) in the eigenbasis of the loss, its curvatures (O,I), and the bases U (O,O) and V (I,I)."""

    coefficients: Tensor
    curvature: Tensor
    said: Tensor
    read: Tensor


class KfacEdit(Transform):
    shown = True

    def __init__(
        self, *, share: Annotated[Share, "of the curvature that is kept"] = 0.7,
        on: Annotated[Patterns, "patterns of paths of projections, with * for any word"] = ("steps.*",),
        labels: Annotated[Literal["data", "drawn"], "next tokens of the data, or drawn from the model"] = "data",
        seed: Annotated[Natural, "of labels that are drawn"] = 0,
    ) -> None:  # fmt: skip
        self.share, self.on, self.labels, self.seed = share, on, labels, seed

    def plan(self, model: Model) -> dict[str, str]:
        model.require("causal", "the curvature of the loss of the next token")
        return dict.fromkeys([part.path for part in projections(model, self.on)], f"{self.share:g} of its curvature")

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        planned, work = self.plan(model), copied(model)
        data = batches(data, "transform:kfac_edit")
        kept, norms = dict[str, float](), dict[str, float]()
        if not next(model.parameters()).is_meta:
            found = factors(model, data, planned, self.labels, self.seed)
            for part in projections(work, self.on):
                if part.path not in found:
                    continue
                basis = rotated(part.weight.detach().double(), found[part.path])
                mask = kept_of(basis.curvature, self.share)
                norms[part.path] = float((basis.coefficients * mask).square().sum() / basis.coefficients.square().sum())
                kept[part.path] = float(mask.double().mean())
                with torch.no_grad():
                    part.weight.copy_(turned_back(basis, mask))
        return Applied(work, planned, report={"components": kept, "squared_norm": norms})


def rotated(weight: Tensor, of: Factors) -> Basis:
    """W (O,I) in the eigenbases of G and A, largest eigenvalues first."""
    (l, u), (m, v) = (_eigen(each) for each in (of.said, of.read))
    return Basis(u.T @ weight @ v, l[:, None] * m, u, v)


def kept_of(curvature: Tensor, share: float) -> Tensor:
    """(O,I) bool: the largest curvatures, of which those before the last one hold less than the share of all."""
    if share >= 1:
        return torch.ones_like(curvature, dtype=torch.bool)
    values, order = curvature.flatten().sort(descending=True, stable=True)
    before = values.cumsum(0) - values
    kept = torch.empty_like(order, dtype=torch.bool)
    kept[order] = before < share * values.sum()
    return kept.view(curvature.shape)


def turned_back(basis: Basis, mask: Tensor) -> Tensor:
    """(O,I) the matrix of the components that are kept."""
    return basis.said @ (basis.coefficients * mask) @ basis.read.T


def _eigen(moment: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(moment)
    return values.clamp(min=0).flip(0), vectors.flip(1)
