"""How likely it is that what is said of a row breaks a rule: a term beside another objective.

    loss = - weight log sum over x in {0,1}^K that keep the rule of prod_i p_i^x_i (1 - p_i)^(1 - x_i)
    p = sigmoid(s)

Each class is a yes or no of its own. The rule is a conjunction of clauses: `0|1` says that class 0 or class 1 holds,
`-2` that class 2 does not; without clauses exactly one class holds. It needs no labels: of rows without a target, too,
it is asked. All 2^K cases are added up in log space, so it is exact, and K is at most 12.

Shapes   classes s (B,K)   cases (2^K,K), of which those stay that keep the rule
Source   arXiv 1711.11157    Slug  nelamkrr    Family  objective
Differs  cases are enumerated (paper: a compiled circuit, the same number)
"""

import itertools
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from blockyard.core import Batch, Objective, Site, UsageError
from blockyard.core.settings import NonNegative, Word

MOST = 12  # classes: 4,096 cases a row


class SemanticLoss(Objective):
    learns = "classes"
    around = dict(head=("classes", {}))

    def __init__(
        self, site: Site, *,
        clauses: Annotated[tuple[Word, ...], "what must hold, as 0|1 or -2, all of them; none: exactly one class holds"]
        = (),
        weight: Annotated[NonNegative, "what the term is multiplied by"] = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.clauses, self.weight = tuple(_clause(text) for text in clauses), weight

    def adopt(self, model: Any, before: Any) -> None:
        """Refuse a rule about classes that the model does not have, and one that nothing keeps."""
        self.cases(model.head.classes.size)

    def cases(self, count: int) -> Tensor:
        """(C,K) the cases of so many classes that keep the rule, 0 or 1."""
        if count > MOST:
            raise UsageError(f"objective:semantic_loss adds up all cases of at most {MOST} classes; there are {count}")
        outside = [place for clause in self.clauses for place, _ in clause if place >= count]
        if outside:
            raise UsageError(f"objective:semantic_loss: there is no class {outside[0]}; they go from 0 to {count - 1}")
        found = [case for case in itertools.product((0, 1), repeat=count) if self._keeps(case)]
        if not found:
            raise UsageError("objective:semantic_loss: nothing keeps all of these clauses; take one away")
        return torch.tensor(found)

    def _keeps(self, case: tuple[int, ...]) -> bool:
        if not self.clauses:
            return sum(case) == 1
        return all(any(case[place] == wanted for place, wanted in clause) for clause in self.clauses)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"semantic_loss": torch.tensor(len(batch.tokens), device=batch.tokens.device)}

    def forward(self, model: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, float]]:
        """{term: (sum, count, weight)}."""
        scores = model(batch).prediction["classes"]
        scores = scores if scores.dtype == torch.float64 else scores.float()
        cases = self.cases(scores.shape[1]).to(scores)
        log_p = logsigmoid(scores) @ cases.T + logsigmoid(-scores) @ (1 - cases).T
        return {"semantic_loss": (-log_p.logsumexp(1).sum(), self.counts(batch)["semantic_loss"], self.weight)}


def _clause(text: str) -> list[tuple[int, int]]:
    """The classes of a clause, each with whether it is to hold."""
    words = text.split("|")
    if not all(word.strip().removeprefix("-").isdecimal() for word in words):
        raise UsageError(
            f"objective:semantic_loss: {text!r} is no clause; write classes as 0|1, or -2 for one that fails"
        )
    return [(abs(int(word)), 0 if word.strip().startswith("-") else 1) for word in words]
