"""Learned vectors before the first token of every text: the model stays as it is, and reads them like tokens.

    p_1 .. p_P, E[x_1] .. E[x_T]        a phase that trains `attached` trains p alone

At first they are rows of the table: drawn ones, those of ids that are named (the words of a task), or the mean of all.
No start leaves what the model says as it was: it reads more than it did, and every token stands P places further on.
They are no matrix and cannot be merged; `detach` takes them off.

Source   arXiv 2104.08691
Family   adapters
Differs  rows are drawn from the whole table (paper: from the 5,000 most common), without one coming twice
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from blockyard.core.batch import Batch
from blockyard.core.errors import UsageError
from blockyard.core.settings import Count, Natural
from blockyard.core.spec import Spec, store
from blockyard.model.model import Model
from blockyard.transform._attach import put
from blockyard.transform._base import Applied, Transform

WHERE = "stem.store"


class SoftPrompt(Transform):
    def __init__(
        self, *, tokens: Annotated[Count, "virtual tokens before each text"] = 20,
        ids: Annotated[tuple[Natural, ...], "ids of tokens to begin as, over and over; none: as `start` says"]
        = (),
        start: Annotated[Literal["rows", "mean"], "drawn rows of the table, or the mean of all"] = "rows",
        seed: Annotated[Natural, "of the rows that are drawn"] = 0,
    ) -> None:  # fmt: skip
        self.spec, self.words = store("prompted", tokens=tokens), f"{tokens} virtual tokens before each text"
        self.tokens, self.ids, self.start, self.seed = tokens, ids, start, seed

    def plan(self, model: Model) -> dict[str, str]:
        return dict.fromkeys(self._where(model), self.words)

    def apply(self, model: Model, data: Sequence[Batch] = ()) -> Applied:
        done = put(model, self._where(model), self.words, self.seed, 1, "tables")
        held = dict(done.model.named_parameters())[f"{WHERE}.prompt"]
        if not held.is_meta:
            with torch.no_grad():
                held.copy_(self._first(model))
        return done

    def _first(self, model: Model) -> Tensor:
        """(tokens, width) the first numbers."""
        table = model.stem.store.full(model.stem.table)  # pyright: ignore
        if self.start == "mean" and not self.ids:
            return table.mean(0).expand(self.tokens, -1)
        drawn = torch.randperm(len(table), generator=torch.Generator().manual_seed(self.seed))
        chosen = torch.tensor(self.ids) if self.ids else drawn
        times = -(-self.tokens // len(chosen))
        return table[chosen.repeat(times)[: self.tokens].to(table.device)]

    def _where(self, model: Model) -> dict[str, Spec]:
        parts = {part.path for part in model.parts()}
        vocab = model.axes.get("stem.vocab")
        if not model.of_ids or not model.causal or model.head.says != "tokens" or WHERE not in parts or vocab is None:
            raise UsageError("soft_prompt: only for models that look tokens up in a table and score the next one")
        if any(part.spec.kind == "junction" for part in model.parts()):
            raise UsageError("soft_prompt: a junction of this model lays tokens anew, those of a prompt among them")
        if model.lead:
            raise UsageError(
                "soft_prompt: virtual tokens stand before its texts already; see: blockyard transform detach"
            )
        if self.ids and max(self.ids) >= vocab.size:
            raise UsageError(f"soft_prompt: ids={max(self.ids)} is no id of a table of {vocab.size}")
        return {WHERE: self.spec}
