"""Does an atom follow from rules and facts? Answered at once, or behind all that follows, step by step.

    a . > b   c b > d   . . > a   ...   ? d                     asked at the d behind ?: yes or no
    with `derivation`:                  ? d  b ... d            asked from there on: each next step, then yes or no

A statement is a body of at most two atoms and a head. Two chains of rules as long as each other lead to the question
and to another atom, and one fact opens one of the two: the question follows from half of the worlds, at every depth,
and nothing that can be counted tells which. Other rules say atoms outside of the chains, or have bodies that never
hold. The depth of a question is that of its chain, whether it is open or not. What is scored is the share of rows with
any wrong answer, so that a derivation counts as a whole.

Shapes   ids: atoms, yes, no, blank, >, ?    T = 4 statements + 2 (+ depth + 2)    chance 1/2 (1/(atoms + 2))
Source   arXiv 2410.05339    Slug  nelamkrr    Family  reasoning
Differs  our reading of a collection that names no generator; no negation; a step is named by its head
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from blockyard.core.settings import Count, Natural
from blockyard.task._base import Draw, Examples, Predictor, Task, at_least, blank
from blockyard.task._logic import closure, missing
from blockyard.task._metric import Metric

COMMON, OUTSIDE = 2, 2  # facts that bodies of chains may need; atoms that rules outside of the chains say


class LogicWorlds(Task):
    grows = ("statements",)
    variants = ({}, dict(derivation=True), dict(depth=2, scored=3, atoms=20, statements=14))
    first = "6989ee3c4478"

    def __init__(
        self, *, depth: Annotated[Natural, "steps of the longest proof"] = 2,
        scored: Annotated[Natural, "steps of the longest proof in the exams; none: the same"] | None = None,
        atoms: Annotated[Count, "different atoms"] = 16,
        statements: Annotated[Count, "rules and facts of a world"] = 10,
        derivation: Annotated[bool, "whether all that follows is said, step by step, before the answer"] = False,
    ) -> None:  # fmt: skip
        self.depth, self.scored, self.atoms, self.statements = depth, scored, atoms, statements
        self.derivation, self.deepest = derivation, max(depth, scored or 0)
        at_least(2 * self.deepest + COMMON + OUTSIDE + 4, atoms=atoms)
        at_least(2 * self.deepest + COMMON + 1, statements=statements)
        self.start = 4 * statements + 1  # where the question stands
        self.length = self.start + 1 + (self.deepest + OUTSIDE) * derivation
        self.yes, self.no, self.blank, self.so, self.ask = range(atoms, atoms + 5)
        self.vocab, self.answers = atoms + 5, range(0 if derivation else atoms, atoms + 2)

    @property
    def scored_on(self) -> Task:
        return self if self.scored is None else self.but(depth=self.scored, scored=None)

    def sample(self, seed: int, n: int) -> Examples:
        return self._asked(*self._worlds(Draw(seed, n)))

    def _worlds(self, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """(n,S,3) bodies and heads in any order, and (n,) what is asked."""
        n, most = draw.rows, self.deepest
        name, depth = draw.order(self.atoms), draw.below(self.depth + 1, 1)
        chains, rest = name[:, : 2 * most + 2].reshape(n, 2, most + 1), name[:, 2 * most + 2 :]
        common, outside, never = np.split(rest, [COMMON, COMMON + OUTSIDE], 1)
        world = self._others(draw, depth, chains, outside, never)
        facts = np.concatenate([common, chains[np.arange(n), draw.below(2), :1]], 1)
        world[:, : COMMON + 1] = np.stack([np.full_like(facts, self.blank)] * 2 + [facts], 2)
        nothing = np.full((n, 2), self.blank)
        needs = _picked(draw, np.concatenate([common, nothing], 1), 2 * most).reshape(n, 2, most)
        links = np.stack([chains[:, :, :-1], needs, chains[:, :, 1:]], 3).swapaxes(1, 2)  # (n,most,2,3)
        there = np.repeat(np.arange(most) < depth, 2, 1)[..., None]
        at = slice(COMMON + 1, COMMON + 1 + 2 * most)
        world[:, at] = np.where(there, links.reshape(n, -1, 3), world[:, at])
        turned = (draw.below(2, self.statements) == 1) & (world[..., 1] != self.blank)
        world = np.where(turned[..., None], world[..., [1, 0, 2]], world)
        return world[np.arange(n)[:, None], draw.order(self.statements)], np.take_along_axis(chains[:, 0], depth, 1)[
            :, 0
        ]

    def _others(
        self, draw: Draw, depth: np.ndarray, chains: np.ndarray, outside: np.ndarray, never: np.ndarray
    ) -> np.ndarray:
        """(n,S,3) rules that change no answer: with a head outside, or for a link of a chain, with two atoms of which
        nothing says either: one more fact would not do."""
        size, most = self.statements, self.deepest
        names = np.concatenate([chains.reshape(draw.rows, -1), outside, never], 1)
        body = np.concatenate([names, np.full((draw.rows, 1), self.blank)], 1)
        free = np.stack([_picked(draw, names, size), _picked(draw, body, size), _picked(draw, outside, size)], 2)
        if not most:
            return free
        first = draw.below(never.shape[1], size)
        second = (first + 1 + draw.below(never.shape[1] - 1, size)) % never.shape[1]
        link = (draw.uniform(size) * depth).astype(np.int64)
        link = np.take_along_axis(chains[:, :, 1:].reshape(draw.rows, -1), link + most * draw.below(2, size), 1)
        held = np.stack([*(np.take_along_axis(never, each, 1) for each in (first, second)), link], 2)
        inside = (draw.below(2, size) == 1) & (depth > 0)  # a chain of no rules has no link
        return np.where(inside[..., None], held, free)

    def _asked(self, world: np.ndarray, question: np.ndarray) -> Examples:
        """The rows of worlds (n,S,3) and of what is asked (n,)."""
        n, size = world.shape[:2]
        tokens = np.full((n, self.length), self.blank)
        lines = np.concatenate([world[..., :2], np.full((n, size, 1), self.so), world[..., 2:]], 2)
        tokens[:, : 4 * size], tokens[:, self.start - 1], tokens[:, self.start] = (
            lines.reshape(n, -1),
            self.ask,
            question,
        )
        answers = self._answers(tokens)
        targets = blank(tokens)
        targets[:, self.start :] = answers
        tokens[:, self.start + 1 :] = np.where(answers < self.atoms, answers, self.blank)[:, :-1]
        tokens[tokens < 0] = self.blank
        return Examples(tokens, targets)

    def _read(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,S,2) bodies, (n,S) heads and (n,) the question of these rows."""
        lines = tokens[:, : self.start - 1].reshape(len(tokens), -1, 4)
        return lines[..., :2], lines[..., 3], np.clip(tokens[:, self.start], 0, self.atoms - 1)

    def _answers(self, tokens: np.ndarray) -> np.ndarray:
        """(n,L) what is asked from the question on, -1 behind the answer."""
        bodies, heads, question = self._read(tokens)
        found, rows = closure(bodies, heads, self.atoms), np.arange(len(tokens))
        said = np.full((len(tokens), self.length - self.start), -1)
        if self.derivation:
            said[:, :-1] = found.steps()[:, : said.shape[1] - 1]
        said[rows, (said >= 0).sum(1)] = np.where(found.follows[rows, question], self.yes, self.no)
        return said

    def solve(self, tokens: np.ndarray) -> np.ndarray:
        """(n,T) from the closure of the rules before the question."""
        found = np.zeros_like(tokens)
        found[:, self.start :] = np.maximum(self._answers(tokens), 0)
        return found

    def told_again(self, tokens: np.ndarray, seed: int, names: bool = False) -> Examples:
        """The same questions in another order of statements or, with `names`, with other names for atoms."""
        bodies, heads, question = self._read(tokens)
        world, draw = np.concatenate([bodies, heads[..., None]], 2), Draw(seed, len(tokens), stream=2)
        rows = np.arange(len(tokens))[:, None]
        if not names:
            return self._asked(world[rows, draw.order(self.statements)], question)
        other = np.concatenate([draw.order(self.atoms), np.full((len(tokens), 5), self.blank)], 1)
        return self._asked(other[rows[..., None], world], other[rows[:, 0], question])

    def sound(self, ids: list[int]) -> list[int]:
        """What may follow a question and some steps: an atom whose rule is met by facts and these steps, or an answer.

        Whether the answer is right is not looked at; behind an answer nothing follows.
        """
        row = np.array(ids, np.int64)[None]
        bodies, heads, _ = self._read(row)
        steps = ids[self.start + 1 :]
        known = np.zeros(self.vocab, bool)
        known[[self.blank, *steps]] = True
        fact = (bodies[0] == self.blank).all(1)
        known[heads[0][fact]] = True
        met = heads[0][known[bodies[0]].all(1)]
        return [*sorted({int(atom) for atom in met if not known[atom]}), self.yes, self.no]

    def questions(self, targets: np.ndarray) -> np.ndarray:
        return np.ones(len(targets), np.int64)

    def amounts(self, said: Mapping[str, Any], targets: Any) -> Any:
        ids = said["ids"] if "ids" in said else said["logits"].argmax(-1)
        return ((ids != targets) & (targets >= 0)).any(1)

    def depths(self, tokens: np.ndarray) -> np.ndarray:
        """(n,) the depth of each question: of one that does not follow, what it would be with one more fact."""
        bodies, heads, question = self._read(tokens)
        depth = closure(bodies, heads, self.atoms).depth[np.arange(len(tokens)), question]
        short = depth < 0
        depth[short] = missing(bodies[short], heads[short], question[short], self.atoms)
        return depth

    def priced(self, said: Mapping[str, Any], examples: Examples) -> np.ndarray:
        """(n,1+2K) wrong rows; then at each depth wrong rows and rows."""
        wrong = np.asarray(self.amounts(said, examples.targets), np.float64)[:, None]
        here = self.depths(examples.tokens)[:, None] == np.arange(self.deepest + 1)
        return np.concatenate([wrong, wrong * here, here], 1)

    @property
    def also(self) -> tuple[Metric, ...]:
        """The share of wrong rows at every depth."""
        return tuple(Metric(f"error at depth {k}", "error rate", "lower", 0.0, 1.0) for k in range(self.deepest + 1))

    def figures(self, sums: np.ndarray, asked: float) -> dict[str, float]:
        wrong, rows = np.split(sums[1:], 2)
        return {each.name: float(a / b) if b else float("nan") for each, a, b in zip(self.also, wrong, rows)}

    def described(self) -> str:
        chance = "nearly all wrong by chance" if self.derivation else "50.0% wrong by chance"
        return f"{self.length} tokens of {self.vocab} kinds an example, {chance}"

    def baselines(self) -> dict[str, Predictor]:
        return {"one step": self._one_step}

    def _one_step(self, tokens: np.ndarray) -> np.ndarray:
        """yes where the question is a fact, or a rule says it whose body is of facts."""
        found = np.full_like(tokens, self.no)
        if tokens.shape[1] > self.start:
            bodies, heads, question = self._read(tokens)
            depth = closure(bodies, heads, self.atoms).depth[np.arange(len(tokens)), question]
            found[(depth == 0) | (depth == 1)] = self.yes
        return found


def _picked(draw: Draw, of: np.ndarray, count: int) -> np.ndarray:
    """(n,count) of each row's values, any of them at each place."""
    return np.take_along_axis(of, draw.below(of.shape[1], count), 1)
