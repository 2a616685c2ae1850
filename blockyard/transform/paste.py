"""Parts of a trained model are pasted into one that never trained: what is named keeps its numbers, the rest is drawn.

    theta'_p = theta_p for the tensors p that are kept        else the first numbers of p by a seed

With `cut` before it, the top of a model stands over a fresh stem: `cut:steps=(0,1)|paste`. A phase that trains `stem.*`
then leaves the top as it is, and shows what it can do with vectors that another map gives it.

Source   arXiv 2310.10616    Slug  icl-representations
Family   surgery
Differs  nothing known
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

import torch

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Natural, Patterns
from blockyard.model.lineage import Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform


class Paste(Transform):
    def __init__(
        self, *, keep: Annotated[Patterns, "patterns of paths of what is pasted, with * for any word"] = ("steps.*",),
        seed: Annotated[Natural, "of the first numbers of all else"] = 0,
    ) -> None:  # fmt: skip
        self.keep, self.seed = keep, seed

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys(self._fresh(model), "drawn anew")

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        fresh, held, first = self._fresh(model), stored(model), next(model.parameters())
        with torch.device("meta"):
            made = build(model.spec)
        with torch.device("meta" if first.is_meta else "cpu"):
            drawn = stored(build(model.spec, self.seed))
        tensors = {name: (drawn[name] if name in fresh else held[name]).detach().clone() for name in held}
        for name in fresh:
            tensors[name] = tensors[name].to(held[name].dtype)
        left = tuple(name for name in held if name not in fresh)
        report = {"new": sum(held[name].numel() for name in fresh)}
        lineage = {name: Origin("") for name in fresh}
        return Applied(fill(made, tensors, first.device), self.plan(model), left, report, lineage)

    def _fresh(self, model: Model) -> list[str]:
        """The paths of the tensors that are not kept."""
        names = list(stored(model))
        for pattern in self.keep:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UsageError(f"paste: no tensor stands at {pattern!r}; among them are {', '.join(names[:6])}")
        found = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in self.keep)]
        if not found:
            raise UsageError(f"paste: {', '.join(self.keep)} is the whole model; leave something to be drawn anew")
        return found
