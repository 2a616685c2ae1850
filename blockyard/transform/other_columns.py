"""A model that reads columns by their names reads another table; everything that it learned stays.

    x = [z; A t_1; A t_2; ...]        t of the words of other names and cells, by the same table of words

Only which columns there are is told anew. Of another number of classes what scores them begins anew.

Source   arXiv 2205.09328
Slug     transtab
Family   tables
Differs  nothing known
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch

from blockyard.core import registry
from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Natural, Word
from blockyard.model.lineage import Lineage, Origin
from blockyard.model.model import Model, build
from blockyard.model.save import fill, stored
from blockyard.transform._base import Applied, Transform


class OtherColumns(Transform):
    example = dict(names=("weight", "port"), levels=(0, 3), words=((), ("a", "b", "c")))
    base = "transtab"

    def __init__(
        self, *, names: Annotated[tuple[Word, ...], "the names of the columns"] = ("age", "fare", "sex", "alone"),
        levels: Annotated[tuple[Natural, ...], "how many words each column knows; 0: it holds numbers"] = (0, 0, 2, 2),
        words: Annotated[tuple[tuple[str, ...], ...], "these words"] = ((), (), ("male", "female"), ("no", "yes")),
        classes: Annotated[Count, "how many the head scores; none: as many as before"] | None = None,
        seed: Annotated[Natural, "of the first numbers of what is new"] = 0,
    ) -> None:  # fmt: skip
        self.told, self.classes, self.seed = dict(names=names, levels=levels, words=words), classes, seed

    def plan(self, model: Model) -> dict[str, str]:
        self._check(model)
        found = {"stem": f"{len(self.told['names'])} columns"}
        if self._head(model) != model.spec["head"]:
            found["head"] = f"{self.classes} classes"
        return found

    @torch.no_grad()
    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        covered = self.plan(model)
        spec = model.spec.but(stem=model.spec["stem"].but(**self.told), head=self._head(model))
        first = next(model.parameters())
        with torch.device("meta" if first.is_meta else "cpu"):
            fresh = build(spec, self.seed)
        told = {name for name, _ in fresh.named_buffers() if name.startswith("stem.")}  # what columns there are
        held, tensors, lineage = stored(model), dict[str, Any](), Lineage()
        for name, tensor in stored(fresh).items():
            if name not in told and name in held and held[name].shape == tensor.shape:
                tensors[name] = held[name].detach().clone()
            else:
                tensors[name] = tensor.detach()
                lineage[name] = Origin("")
        with torch.device("meta"):
            made = build(spec)
        new = sum(tensors[name].numel() for name in lineage if name not in told)
        return Applied(fill(made, tensors, first.device), covered, (), {"new": new}, lineage)

    def _head(self, model: Model) -> Any:
        head = model.spec["head"]
        known = "classes" in registry.find("head", head.name).schema
        return head.but(classes=self.classes) if known and self.classes is not None else head

    def _check(self, model: Model) -> None:
        stem = model.spec["stem"]
        if not self.told.keys() <= registry.find("stem", stem.name).schema.keys():
            raise UsageError(
                f"other_columns: stem:{stem.name} does not read columns by their names, so it cannot read others"
            )
