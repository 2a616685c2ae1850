"""Lists of what belongs to a subject, in an order that is drawn: say one more that belongs to it.

    s : a , b , c ,                   asked behind the colon and every comma: the next of the list

Every subject has `count` answers, two of each of some families of answers, whose other members are wrong. The n-th is
drawn in proportion to 1 / n among those that the list does not have yet. The oracle names the commonest of these.

Shapes   ids: the answers, family by family; then the subjects, colon, comma    T = 2 count
         chance 1/(families members)
Source   arXiv 2410.02284    Slug  in-context-navigation    Family  recall
Differs  drawn knowledge in place of that of the world; an answer is one token
"""

from typing import Annotated

import numpy as np

from blockyard.core.settings import Count
from blockyard.task._base import Draw, Examples, Predictor, Task, blank, fits

PAIR = 2  # answers of a family that a subject has


class Listings(Task):
    """`known` (S,C): the answers of every subject, the commonest first."""

    exact = False
    grows = ()
    first = "743351048c17"
    variants = ({}, dict(subjects=20, count=4, families=4, members=3))

    def __init__(
        self, *, subjects: Annotated[Count, "how many subjects"] = 200,
        count: Annotated[Count, "answers of a subject"] = 6, families: Annotated[Count, "families of answers"] = 8,
        members: Annotated[Count, "answers of a family"] = 8,
    ) -> None:  # fmt: skip
        fits(members > PAIR, f"listings: members={members} must be above {PAIR}: some of a family are wrong")
        fits(
            count % PAIR == 0 and count // PAIR <= families,
            f"listings: count={count} must be even, for {PAIR} of each of at most families={families}",
        )
        self.subjects, self.count, self.families, self.members = subjects, count, families, members
        self.answers, self.length = range(families * members), 2 * count
        self.colon, self.comma = len(self.answers) + subjects, len(self.answers) + subjects + 1
        self.vocab = self.comma + 1
        draw, kinds = Draw(0, subjects, stream=2), count // PAIR
        family = draw.distinct(kinds, families)
        member = np.stack([draw.distinct(PAIR, members) for _ in range(kinds)], 1)  # (S,kinds,PAIR)
        found = (family[..., None] * members + member).reshape(subjects, count)
        self.known = np.take_along_axis(found, draw.order(count), 1)

    def prompt(self, subject: int, listed: tuple[int, ...] = ()) -> list[int]:
        """What asks for one more of a subject, behind those that are listed."""
        return [len(self.answers) + subject, self.colon, *(id for each in listed for id in (each, self.comma))]

    def sample(self, seed: int, n: int) -> Examples:
        draw = Draw(seed, n)
        subject = draw.below(self.subjects, 1)[:, 0]
        weight = -np.log(np.arange(1, self.count + 1)) - np.log(-np.log(draw.uniform(self.count)))
        listed = np.take_along_axis(self.known[subject], np.argsort(-weight, 1, kind="stable"), 1)
        tokens = np.full((n, self.length), self.comma)
        tokens[:, 0], tokens[:, 1], tokens[:, 2::2] = len(self.answers) + subject, self.colon, listed[:, :-1]
        targets = blank(tokens)
        targets[:, 1::2] = listed
        return Examples(tokens, targets)

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        mine = self.known[np.clip(tokens[:, 0] - len(self.answers), 0, self.subjects - 1)]
        seen = (tokens[..., None] == mine[:, None]).cumsum(1) > 0  # (n,T,C)
        return np.take_along_axis(mine, seen.argmin(2), 1)

    def baselines(self) -> dict[str, Predictor]:
        first = self.known[:, 0]
        return {"commonest": lambda tokens: np.broadcast_to(np.bincount(first).argmax(), tokens.shape)}
