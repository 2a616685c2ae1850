"""Every channel becomes many experts, each a copy of it that lost some weights of its own, behind a router.

    F_e = F with w <- w m_e        m_e ~ Bernoulli(keep), for every weight of a projection and every expert

With keep=1 all experts are the channel, and where the weights of a token's experts sum to one, so is the whole. What
is drawn keeps experts apart: equal ones behind an even router would stay equal for ever.

Source   arXiv 2212.05055, 2112.14397 (masks)
Slug     evomoe
Family   growth
Differs  weights that a mask keeps are not scaled up
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.random import uniform
from blockyard.core.settings import Count, Natural, NonNegative, RouterSpec, Share, Word
from blockyard.core.spec import Spec, matching_edits
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform


class Upcycle(Transform):
    example = dict(experts=3)

    def __init__(
        self, *, experts: Annotated[Count, "copies of each channel"] = 4,
        keep: Annotated[Share, "the share of its weights that a copy keeps"] = 0.9,
        router: RouterSpec = Spec("router", "top"),
        balance: Annotated[NonNegative, "what uneven loads cost"] = 0.01,
        where: Annotated[Word, "the paths of the channels, with * for any word"] = "steps.*.part",
        seed: Annotated[Natural, "of the masks and of the routers' first numbers"] = 0,
    ) -> None:  # fmt: skip
        self.named = dict(experts=experts, router=router, balance=balance)
        self.keep, self.where, self.seed = keep, where, seed

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys(self._channels(model), f"{self.named['experts']} experts")

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        channels = self._channels(model)
        edits = _moved(model.spec.get("edits", ()), channels)
        for path, spec in channels.items():
            edits.append(Spec.of("edit", path, {"spec": Spec.of("channel", "experts", self.named | {"expert": spec})}))
        with torch.device("meta" if next(model.parameters()).is_meta else "cpu"):
            made = build(model.spec.but(edits=tuple(edits)), self.seed)
        filled, lineage = _copied(model, made, channels, self.keep, self.seed)
        return Applied(filled, self.plan(model), lineage=lineage)

    def _channels(self, model: Model) -> dict[str, Spec]:
        """The channels that become experts, by path; those that are some already stay."""
        found = [part for part in model.parts() if part.spec.kind == "channel" and fnmatchcase(part.path, self.where)]
        channels = {part.path: part.spec for part in found if part.spec.name != "experts"}
        if not channels:
            raise UsageError(f"upcycle: no channel stands at {self.where}")
        return channels


def _copied(
    model: Model, made: Model, channels: dict[str, Spec], keep: float, seed: int
) -> tuple[Model, Lineage]:  # fmt: skip
    """The new model with the numbers of the old one, and which channel each tensor of an expert came from."""
    first = next(model.parameters())
    projections = {use.path for use in model.uses if use.decay}
    tensors: dict[str, Tensor] = {}
    lineage: Lineage = {}
    before = stored(model)
    for name, fresh in stored(made).items():
        copied = next((path for path in channels if name.startswith(f"{path}.experts.")), None)
        if copied is None:
            kept = before.get(name, fresh).detach()
        else:
            old = f"{copied}.{name.removeprefix(f'{copied}.experts.').partition('.')[2]}"
            lineage[name] = Origin(old)
            kept = before[old].detach()
            kept = _masked(kept, keep, (seed, name)) if old in projections and keep < 1 else kept.clone()
        tensors[name] = kept.to(first.dtype) if kept.is_floating_point() else kept
    return fill(made, tensors, first.device), lineage


def _masked(weight: Tensor, keep: float, key: tuple[int, str]) -> Tensor:
    """The matrix without the entries that are drawn away."""
    return weight * (uniform(("upcycle", *key), tuple(weight.shape), weight.device) < keep)


def _moved(edits: tuple[Spec, ...], channels: dict[str, Spec]) -> list[Spec]:
    """The edits, where those of a channel are edits of each of its experts; what they made of its spec is known."""
    moved = []
    for edit in edits:
        inside = [path for path in channels if _at(edit, path)]
        if not inside:
            moved.append(edit)
        elif "*" in edit.name:
            raise UsageError(f"upcycle: the edit of {edit.name} means several modules; name the channel of each")
        else:
            own = {key: value for key, value in edit.settings if edit.name not in channels or key.startswith("axes.")}
            rest = edit.name.removeprefix(inside[0])
            moved += [Spec.of("edit", f"{inside[0]}.experts.*{rest}", own)] if own else []
    return moved


def _at(edit: Spec, path: str) -> bool:
    """Whether an edit is of this module or of one inside it."""
    words, depth = edit.name.split("."), len(path.split("."))
    head = Spec.of("edit", ".".join(words[:depth]), {})
    return len(words) >= depth and bool(matching_edits((head,), path))
